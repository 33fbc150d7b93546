"""The dashboard server of the UR twin: one line of text asks, one line answers.

Source: Universal Robots, "Dashboard Server e-Series and CB-Series". What the twin does not model is answered as the
real server answers what it does not know.
"""

from __future__ import annotations

import socket

from hardware.tcp_server import read_exactly
from hardware.ur_controller import UrController

__all__ = ["answer", "serve_dashboard"]

_MODES = {3: "POWER_OFF", 5: "IDLE", 7: "RUNNING"}


def serve_dashboard(box: UrController, client: socket.socket) -> None:
    """Greet a client and answer its lines until it leaves."""
    client.sendall(b"Connected: Universal Robots Dashboard Server\n")
    line = bytearray()
    while True:
        byte = read_exactly(client, 1)
        if byte != b"\n":
            line += byte
            continue
        command, line = line.decode(errors="replace").strip(), bytearray()
        client.sendall(answer(box, command).encode() + b"\n")
        if command == "quit":
            return


def answer(box: UrController, command: str) -> str:
    """Obey a command and return what the server says; every command is noted in the controller's log."""
    box.log.append(f"dashboard: {command}")
    version = "5.12.0.1101319 (Mar 08 2022)" if box.model.e_series else "3.15.8.106339 (Mar 25 2022)"
    facts = {
        "PolyscopeVersion": f"URSoftware {version}",
        "is in remote control": str(box.remote_control).lower(),
        "robotmode": f"Robotmode: {_MODES[box.robot_mode]}",
        "safetystatus": f"Safetystatus: {box.safety_mode.name}",
        "safetymode": f"Safetymode: {box.safety_mode.name}",
        "running": f"Program running: {str(box.playing).lower()}",
        "programState": f"{'PLAYING' if box.playing else 'STOPPED'} rtde_control.urp",
        "get serial number": "20215500123",
        "get robot model": box.model.name.upper().removesuffix("E"),
        "quit": "Disconnected",
    }
    if command in facts:
        return facts[command]
    if command == "stop":
        box.stop_program("dashboard")
        return "Stopped"
    if command == "unlock protective stop":
        if box.unlock_protective_stop():
            return "Protective stop releasing"
        return "Cannot unlock protective stop until 5s after occurrence. Always inspect cause of protective stop"
    if command == "power on":
        return "Powering on"
    if command == "brake release":
        box.power_on()
        return "Brake releasing"
    if command.startswith(("popup", "addToLog", "close popup", "close safety popup")):
        return "ok"
    return f"could not understand: '{command}'"
