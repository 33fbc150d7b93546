"""`robolearn twin <arm>`: an arm that exists only in this computer and speaks its vendor's protocol.

Anything that drives the real controller drives it: our drivers, the vendor's own client, somebody's script. Behind it
moves a kinematic arm, or any robot plugin with as many joints (`--physics mujoco` for one with dynamics). Lines typed
into the terminal play the person beside the arm: "protective_stop", "speed_slider 0.3", "help".
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import threading
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
    physics: str = KINEMATIC
    """What moves: "kinematic" or a robot plugin such as "mujoco"; the plugin's fields follow as --physics.<field>."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    names = plugins.names("twin")
    if not arguments or arguments[0].startswith("-"):
        say("usage: robolearn twin <arm> [options]     robolearn twin <arm> --help", "", f"arms: {', '.join(names)}")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    name, *rest = arguments
    cls = plugins.load("twin", name)
    chosen = any(a == "--physics" or a.startswith("--physics=") for a in rest) and KINEMATIC not in rest
    options = parse(Arguments, rest, prog=f"robolearn twin {name}", parts={"physics": "robot"} if chosen else {})
    fields = {field.name for field in dataclasses.fields(cls)}
    values: dict[str, Any] = {"address": options.address}
    for field, value in (("model", name), ("seed", options.seed), ("port", options.port or None)):
        if field in fields and value is not None:
            values[field] = value
    with contextlib.ExitStack() as stack:
        if chosen:
            robot = stack.enter_context(options.physics_config.build())
            twin = cls(**values).build(robot)
        else:
            twin = cls(**values).build()
        stack.enter_context(twin)
        config = twin.config
        say(f"{name} listens on {config.address}:{config.port} ({options.physics}). Ctrl-C ends it; type help.")
        converse(twin, sys.stdin)
        threading.Event().wait()  # No terminal (a service, a pipe that ended): run on until a signal comes.
    return 0


def converse(twin: Any, lines: Iterable[str]) -> None:
    """Obey lines and print the answers; a mistake is answered, not fatal."""
    for line in lines:
        if line.strip():
            try:
                say(json.dumps(twin.command(line)))
            except RobolearnError as error:
                say(str(error))
