"""`robolearn twin <arm>`: an arm that exists only in this computer and speaks its vendor's protocol.

Anything that drives the real controller drives it: our drivers, the vendor's own client, somebody's script. Behind it
moves the simulation's MuJoCo model of that arm, or a kinematic arm where there is none (`--physics` chooses). Lines
typed into the terminal play the person beside the arm: "protective_stop", "speed_slider 0.3", "help".
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import threading
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from robolearn import plugins
from robolearn.cli import parse, say
from robolearn.errors import RobolearnError

KINEMATIC = "kinematic"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Run a protocol twin until Ctrl-C; type "help" for what can go wrong with it."""

    address: str = "127.0.0.1"
    """IPv4 address to listen on. Vendor clients use fixed ports, so a second twin needs another one (127.0.0.2)."""
    port: int = 0
    """Main port of the protocol; 0 takes the vendor's."""
    seed: int = 0
    """Seed of the kinematic arm's measurement noise."""
    physics: str = ""
    """What moves: "mujoco" (the simulation's model of this arm; the default where there is one), "kinematic", or
    another robot plugin; a plugin's fields follow as --physics.<field>."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    names = plugins.names("twin")
    if not arguments or arguments[0].startswith("-"):
        say("usage: robolearn twin <arm> [options]     robolearn twin <arm> --help", "", f"arms: {', '.join(names)}")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    name, *rest = arguments
    cls = plugins.load("twin", name)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    own = typing.get_args(typing.get_type_hints(cls).get("physics", ""))
    foreign = _physics(rest) not in ("", *own) or any(a.startswith("--physics.") for a in rest)
    options = parse(Arguments, rest, prog=f"robolearn twin {name}", parts={"physics": "robot"} if foreign else {})
    physics = options.physics or ("mujoco" if "mujoco" in own and cls.modelled(name) else KINEMATIC)
    values: dict[str, Any] = {"address": options.address}
    wanted = (("model", name), ("seed", options.seed), ("port", options.port or None), ("physics", physics))
    for field, value in wanted:
        if field in fields and value is not None and not (foreign and field == "physics"):
            values[field] = value
    with contextlib.ExitStack() as stack:
        if foreign:
            robot = stack.enter_context(options.physics_config.build())
            twin = cls(**values).build(robot)
        else:
            twin = cls(**values).build()
        stack.enter_context(twin)
        config = twin.config
        say(f"{name} listens on {config.address}:{config.port} ({physics}). Ctrl-C ends it; type help.")
        converse(twin, sys.stdin)
        threading.Event().wait()  # No terminal (a service, a pipe that ended): run on until a signal comes.
    return 0


def _physics(arguments: Sequence[str]) -> str:
    for k, argument in enumerate(arguments):
        if argument == "--physics":
            return arguments[k + 1] if k + 1 < len(arguments) else ""
        if argument.startswith("--physics="):
            return argument.partition("=")[2]
    return ""


def converse(twin: Any, lines: Iterable[str]) -> None:
    """Obey lines and print the answers; a mistake is answered, not fatal."""
    for line in lines:
        if line.strip():
            try:
                say(json.dumps(twin.command(line)))
            except RobolearnError as error:
                say(str(error))
