"""A protocol twin in a process of its own, and the line of text that injects faults into it.

ur_rtde holds Python's global lock while it connects, so a twin in the client's own process could never answer it; a
process of its own also keeps the twin's cycle steady. Each twin understands short commands such as
"protective_stop" or "speed_slider 0.3" (`command`), the same that `robolearn twin` reads from the terminal.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from robolearn.errors import BenchError, RobolearnError, UnknownName

__all__ = ["Twin", "TwinProcess", "obey"]

ROOT = Path(__file__).resolve().parents[1]
TWINS = {
    "ur": ("hardware.rtde_twin", "UrTwinConfig"),
    "xarm": ("hardware.xarm_twin", "XArmTwinConfig"),
    "robotiq": ("hardware.robotiq_twin", "RobotiqTwinConfig"),
}


class Twin(Protocol):
    """What every protocol twin can do beside speaking its protocol."""

    def start(self) -> None:
        """Listen; raises `BenchError` when a port is taken."""
        ...

    def close(self) -> None:
        """Stop listening; safe to call twice."""
        ...

    def command(self, line: str) -> Any:
        """Obey one line ("help" lists them) and return something that JSON can hold."""
        ...


def obey(actions: Mapping[str, Callable[..., Any]], line: str) -> Any:
    """Run one line: the action named by its first word, with the other words as its arguments.

    Raises:
        UnknownName: No such action; the message lists them.
        BenchError: The action does not take these arguments.
    """
    name, *arguments = line.split() or ["help"]
    if name == "help":
        return sorted(actions)
    if name not in actions:
        raise UnknownName("command of the twin", name, actions)
    try:
        return actions[name](*arguments)
    except (TypeError, ValueError) as error:
        raise BenchError(f"{name!r} cannot take {arguments}: {error}.") from error


class TwinProcess:
    """A twin as a child process; it ends when this object is closed or this process dies.

    Args:
        kind: "ur", "xarm" or "robotiq".
        fields: Fields of the twin's config.

    Raises:
        BenchError: The twin could not start (a port is taken, say).
    """

    def __init__(self, kind: str, **fields: Any):
        if kind not in TWINS:
            raise UnknownName("twin", kind, TWINS)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "hardware.twin_process", kind, json.dumps(fields)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._receive()

    def command(self, line: str) -> Any:
        """Send one line to the twin and return its answer; a refusal raises `BenchError`."""
        if self._child.stdin is None or self._child.poll() is not None:
            raise BenchError("The twin's process has ended.")
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()
        return self._receive()

    def close(self) -> None:
        """End the process; safe to call twice."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> TwinProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> Any:
        line = "" if self._child.stdout is None else self._child.stdout.readline()
        if not line:
            self.close()
            raise BenchError("The twin's process has ended; its error output says why.")
        answer = json.loads(line)
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer["result"]


def _serve(twin: Twin, lines: Iterable[str], answer: Callable[[dict[str, Any]], None]) -> None:
    try:
        twin.start()
    except BenchError as error:
        answer({"error": str(error)})
        return
    try:
        answer({"result": "listening"})
        for line in lines:
            try:
                answer({"result": twin.command(line)})
            except RobolearnError as error:
                answer({"error": str(error)})
    finally:
        twin.close()


def _answer(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    import importlib

    module, name = TWINS[sys.argv[1]]
    config = getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2]))
    _serve(config.build(), sys.stdin, _answer)
