"""What a UR controller says about itself, and what a person has to do about it.

Bits are those of RTDE's safety_status_bits and robot_status_bits. Nothing here unlocks or restarts anything: a
protective stop that a program clears by itself is what Universal Robots' service notes prohibit.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, NamedTuple

from robolearn.errors import MissingDependency

__all__ = ["ROBOT_RUNNING", "VARIABLES", "WATCHDOG_HZ", "Client", "find_client", "is_safety_stop", "stop_by_dashboard"]
__all__ += ["take_leave", "why_absent", "why_hung", "why_not_ready", "why_refused", "why_stale", "why_stopped"]

VARIABLES = ["timestamp", "actual_q", "actual_qd", "actual_TCP_pose", "actual_TCP_force"]
VARIABLES += ["robot_mode", "safety_status_bits", "robot_status_bits", "speed_scaling", "runtime_state"]
WATCHDOG_HZ = 10.0
"""The controller stops the arm when it gets nothing for 1/10 s (reliability: loopback heartbeats gap up to 63 ms)."""
ROBOT_RUNNING = 7

_EMERGENCY = 1 << 5 | 1 << 6 | 1 << 7
_PROTECTIVE = 1 << 2 | 1 << 4 | 1 << 8 | 1 << 9
_PROGRAM_RUNNING = 1 << 1


class Client(NamedTuple):
    """The two parts of ur_rtde that the driver uses: constructors of the receiving and the controlling interface."""

    receive: Any
    control: Any


def find_client() -> Client:
    """ur_rtde; raises `MissingDependency` when it is not installed."""
    try:
        import rtde_control
        import rtde_receive
    except ImportError as error:
        raise MissingDependency("ur_rtde", "hardware", "The UR driver") from error
    return Client(rtde_receive.RTDEReceiveInterface, rtde_control.RTDEControlInterface)


def is_safety_stop(bits: int) -> bool:
    """Whether the controller has stopped the arm for safety."""
    return bool(bits & (_EMERGENCY | _PROTECTIVE))


def why_not_ready(receive: Any, bits: int, *, commanding: bool) -> str:
    """Why the arm does not move, or "".

    Args:
        receive: The receiving interface.
        bits: Its safety status bits.
        commanding: Whether a control program should be running.
    """
    if bits & _EMERGENCY:
        return (
            "The UR is in an emergency stop. Make the cell safe, release the button, power on and release the "
            "brakes at the pendant, then connect again."
        )
    if bits & _PROTECTIVE:
        return (
            "The UR is in a protective stop (or its safeguard is open). Look at the arm, remove the cause, enable "
            "it at the pendant, then connect again. This program never unlocks it."
        )
    if receive.getRobotMode() != ROBOT_RUNNING:
        return "The UR is not running. Power it on and release its brakes at the pendant, connect again."
    if commanding and not receive.getRobotStatus() & _PROGRAM_RUNNING:
        return why_stopped()
    return ""


def why_stopped() -> str:
    """The control program has ended."""
    return (
        "The control program on the UR has ended: somebody pressed stop at the pendant, or this machine sent "
        f"nothing for {1e3 / WATCHDOG_HZ:.0f} ms and the controller's watchdog stopped the arm. Connect again."
    )


def why_absent(address: str, error: Exception) -> str:
    """Nobody answers."""
    return (
        f"No UR controller answers at {address} ({error}). Check the address, the cable and that the "
        "controller is switched on; RTDE is port 30004."
    )


def why_refused(address: str, error: Exception) -> str:
    """It measures but takes no commands."""
    return (
        f"The UR at {address} does not take commands: {error}. Switch it to remote control at "
        "the pendant (top right), and stop any other program that controls it."
    )


def why_hung(address: str) -> str:
    """The control connection does not return."""
    return f"The control connection to the UR at {address} hangs. Check the cable, then connect again."


def why_stale(address: str, age: float, allowed: float) -> str:
    """The timestamp no longer advances."""
    return (
        f"The UR at {address} has sent nothing new for {age:.3f} s; at most {allowed} s is "
        "allowed. Check the cable and the controller, then connect again."
    )


def stop_by_dashboard(address: str) -> None:
    """Tell the program to stop on a way of its own, when the control connection hangs."""
    with contextlib.suppress(OSError), socket.create_connection((address, 29999), 0.5) as line:
        line.recv(256)
        line.sendall(b"stop\n")
        line.recv(256)


def take_leave(part: Any, *calls: str) -> None:
    """Call the parting methods of an interface, if there is one, whatever each of them says."""
    for call in calls if part is not None else ():
        with contextlib.suppress(RuntimeError):
            getattr(part, call)()
