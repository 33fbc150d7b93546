"""The wire format of Universal Robots' Real-Time Data Exchange (RTDE), protocol version 2.

A message is a 16-bit length, an 8-bit kind and a payload, big-endian. A client sends recipes (lists of variable
names); the controller answers with their types and then exchanges packed values under the recipe's number. Source:
Universal Robots, "Real-Time Data Exchange (RTDE) Guide".
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from hardware.tcp_server import read_exactly

__all__ = ["Kind", "Recipe", "SafetyMode", "field_type", "frame", "read_message"]


class Kind(IntEnum):
    """Kinds of messages: the ASCII codes of V, v, M, U, O, I, S and P."""

    PROTOCOL_VERSION = 86
    CONTROLLER_VERSION = 118
    TEXT = 77
    DATA = 85
    OUTPUT_SETUP = 79
    INPUT_SETUP = 73
    START = 83
    PAUSE = 80


class SafetyMode(IntEnum):
    """The safety state of the arm as RTDE numbers it."""

    NORMAL = 1
    REDUCED = 2
    PROTECTIVE_STOP = 3
    RECOVERY = 4
    SAFEGUARD_STOP = 5
    SYSTEM_EMERGENCY_STOP = 6
    ROBOT_EMERGENCY_STOP = 7
    VIOLATION = 8
    FAULT = 9


_FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT32": "I",
    "UINT64": "Q",
    "INT32": "i",
    "DOUBLE": "d",
    "VECTOR3D": "3d",
    "VECTOR6D": "6d",
    "VECTOR6INT32": "6i",
}

_TYPES = {
    "VECTOR6D": "target_q target_qd target_qdd target_current target_moment actual_q actual_qd actual_current "
    "actual_current_window joint_control_output actual_TCP_pose actual_TCP_speed actual_TCP_force target_TCP_pose "
    "target_TCP_speed joint_temperatures actual_joint_voltage ft_raw_wrench payload_inertia external_force_torque",
    "VECTOR3D": "actual_tool_accelerometer payload_cog elbow_position elbow_velocity",
    "VECTOR6INT32": "joint_mode",
    "DOUBLE": "timestamp actual_execution_time speed_scaling target_speed_fraction actual_momentum "
    "actual_main_voltage actual_robot_voltage actual_robot_current standard_analog_input0 standard_analog_input1 "
    "standard_analog_output0 standard_analog_output1 standard_analog_output_0 standard_analog_output_1 "
    "tool_analog_input0 tool_analog_input1 tool_output_current tcp_force_scalar payload speed_slider_fraction",
    "INT32": "robot_mode safety_mode safety_status tool_output_voltage tool_mode",
    "UINT32": "runtime_state robot_status_bits safety_status_bits speed_slider_mask io_current "
    "output_bit_registers0_to_31 output_bit_registers32_to_63 input_bit_registers0_to_31 input_bit_registers32_to_63",
    "UINT64": "actual_digital_input_bits actual_digital_output_bits",
    "UINT8": "standard_digital_output_mask standard_digital_output configurable_digital_output_mask "
    "configurable_digital_output tool_digital_output_mask tool_digital_output standard_analog_output_mask "
    "standard_analog_output_type",
}
_TYPE_OF = {name: kind for kind, names in _TYPES.items() for name in names.split()}
_REGISTERS = {"int_register_": "INT32", "double_register_": "DOUBLE", "bit_register_": "BOOL"}


def field_type(name: str) -> str:
    """RTDE type of a variable, "NOT_FOUND" for one that a controller would not know."""
    if name in _TYPE_OF:
        return _TYPE_OF[name]
    for middle, kind in _REGISTERS.items():
        head, found, number = name.partition(middle)
        if found and head in ("input_", "output_") and number.isdigit() and int(number) < 128:
            return kind
    return "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A list of variables that travel together.

    Attributes:
        number: Identifier the controller gave it, 1 to 255.
        names: Variables in order; all of them known (see `field_type`).
        rate_hz: Packages per second of an output recipe.
    """

    number: int
    names: tuple[str, ...]
    rate_hz: float = 0.0

    @property
    def types(self) -> tuple[str, ...]:
        """Types of the variables in order."""
        return tuple(field_type(name) for name in self.names)

    def packer(self) -> Callable[[Mapping[str, tuple[float, ...]]], bytes]:
        """A function that turns values by name (missing ones are zero) into a complete data message."""
        layout = struct.Struct(">HBB" + "".join(_FORMATS[kind] for kind in self.types))
        fields = [
            (name, struct.unpack(f">{_FORMATS[kind]}", bytes(struct.calcsize(f">{_FORMATS[kind]}"))))
            for name, kind in zip(self.names, self.types, strict=True)
        ]

        def pack(values: Mapping[str, tuple[float, ...]]) -> bytes:
            flat: list[float] = []
            for name, zero in fields:
                flat.extend(values.get(name, zero))
            return layout.pack(layout.size, Kind.DATA, self.number, *flat)

        return pack

    def unpack(self, payload: bytes) -> dict[str, tuple[float, ...]]:
        """Values by name from the payload of a data message, without its recipe number.

        Raises:
            ConnectionError: The payload has another length than the recipe.
        """
        values: dict[str, tuple[float, ...]] = {}
        offset = 0
        for name, kind in zip(self.names, self.types, strict=True):
            layout = f">{_FORMATS[kind]}"
            if offset + struct.calcsize(layout) > len(payload):
                raise ConnectionError(f"Recipe {self.number} needs more than the {len(payload)} bytes that came.")
            values[name] = struct.unpack_from(layout, payload, offset)
            offset += struct.calcsize(layout)
        return values


def frame(kind: Kind, payload: bytes) -> bytes:
    """A complete message."""
    return struct.pack(">HB", len(payload) + 3, kind) + payload


def read_message(client: socket.socket) -> tuple[int, bytes]:
    """The next message's kind and payload; raises `ConnectionError` when the client has gone."""
    size, kind = struct.unpack(">HB", read_exactly(client, 3))
    return kind, read_exactly(client, size - 3)
