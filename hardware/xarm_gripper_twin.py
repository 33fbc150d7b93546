"""The xArm gripper behind the arm's RS-485 line: registers, and fingers that move and stop on things.

Register numbers and frames are those of xarm-python-sdk 1.18 (Modbus RTU functions 0x03 and 0x10, carried in the
arm's function 124); positions are pulses from 0, closed, to 850, open. Nothing was compared with a real gripper.
"""

from __future__ import annotations

import struct

__all__ = ["ARM_READ", "ARM_WRITE", "RS485", "GripperTwin"]

RS485, ARM_WRITE, ARM_READ = 124, 127, 128
"""Functions of the arm's controller: a frame for the tool's line, and registers of the tool board itself."""
GRIPPER, BAUD_REGISTER, BAUD_2M = 8, 0x0A0B, 11
ENABLE, MODE, SPEED, TARGET, POSITION, ERROR, CLEAR = 0x0100, 0x0101, 0x0303, 0x0700, 0x0702, 0x000F, 0x0109
OPEN = 850.0


class GripperTwin:
    """The gripper; its owner calls `step` once a cycle and `answer` for each frame."""

    def __init__(self) -> None:
        self.registers = {ENABLE: 0, MODE: 0, SPEED: 1500, ERROR: 0}
        self.position = self.target = OPEN
        self.thing = 0.0
        """Width in pulses of what lies between the fingers, 0 for nothing."""
        self.commands = 0

    @property
    def holds(self) -> bool:
        """Whether the fingers press on something."""
        return self.thing > 0 and self.target < self.position <= self.thing + 1e-6

    def step(self, dt: float) -> None:
        """One cycle of motion."""
        if not self.registers[ENABLE] or self.registers[ERROR]:
            return
        goal = max(self.target, self.thing) if self.position >= self.thing else self.target
        most = self.registers[SPEED] * dt
        self.position += min(most, max(-most, goal - self.position))

    def fail(self, code: int) -> None:
        """Latch an error until it is cleared."""
        self.registers[ERROR] = code

    def board(self, function: int, data: bytes) -> bytes:
        """Registers of the tool board: the line's speed is what the SDK wants to see."""
        (register,) = struct.unpack(">H", data[1:3])
        return struct.pack(">i", BAUD_2M if register & 0x0FFF == BAUD_REGISTER else 0) if function == ARM_READ else b""

    def answer(self, frame: bytes) -> bytes:
        """What comes back for a frame, without its first byte, which names the line."""
        host, unit, function = frame[:3]
        if unit != GRIPPER:
            return b""
        address, count = struct.unpack(">HH", frame[3:7])
        if function == 0x03:
            return bytes([host, unit, function, 2 * count]) + self._read(address, count)
        if function == 0x10:
            self._write(address, int.from_bytes(frame[8 : 8 + 2 * count], "big", signed=True))
            return frame[:7]
        return bytes([host, unit, function | 0x80, 1])

    def _read(self, address: int, count: int) -> bytes:
        value = round(self.position) if address == POSITION else self.registers.get(address, 0)
        return value.to_bytes(2 * count, "big", signed=True)

    def _write(self, address: int, value: int) -> None:
        if address == TARGET:
            self.target = min(OPEN, max(0.0, float(value)))
            self.commands += 1
        elif address == CLEAR:
            self.registers[ERROR] = 0
        else:
            self.registers[address] = value
