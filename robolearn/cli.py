"""The command line: `robolearn <verb>`, typed by dataclasses, help taken from their docstrings.

A flag that names a plugin brings the plugin's own fields with it: `--task lift --task.threads 2`,
`--policy diffusion --policy.horizon 8`. A user's mistake ends in one paragraph and a non-zero exit code, never in a
traceback. Heavy packages are imported inside the verb that needs them, so `robolearn --help` is instant.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from robolearn import __version__, plugins
from robolearn.errors import MissingDependency, RobolearnError, UnknownName

__all__ = ["VERBS", "chosen", "main", "parse", "say"]

VERBS = {
    "doctor": "Check this machine: packages, rendering, devices; say what is missing.",
    "data": "Get, import, export, describe, check, edit and look at demonstrations.",
    "record": "Record episodes of a task into a store.",
    "train": "Train a policy by imitation of a store.",
    "evaluate": "Measure a policy's success with an interval, from fresh paired starts.",
    "compare": "Compare evaluations start by start: which policy is better, and is that chance?",
    "export": "Export a policy to ONNX, for a computer without torch.",
    "replay": "Play recorded actions open loop and compare with what was recorded.",
    "deploy": "Run a policy on a bench, or on its twin while the arm only reports.",
    "serve": "Answer robots from this computer with a policy.",
    "bench": "Check a bench file, with or without its devices.",
    "twin": "Run an arm that exists only here and speaks its vendor's protocol.",
    "calibrate": "Camera intrinsics, hand-eye, the check before work.",
    "keypoints": "Install or show the detector of people's joints.",
    "run": "Run a recipe, such as launch/train_lift.py.",
    "demo": "The main job: demonstrations, two policies, one report.",
}

_EXTRAS = {
    "cv2": "camera",
    "pyrealsense2": "realsense",
    "torch": "train",
    "safetensors": "train",
    "onnxruntime": "onnx",
    "mujoco": "sim",
    "websockets": "remote",
    "msgpack": "remote",
    "robosuite": "sim",
    "matplotlib": "train",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; mistakes are told on stderr."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())  # noqa: T201
        return 0
    if arguments[0] == "--version":
        print(__version__)  # noqa: T201
        return 0
    try:
        verb, *rest = arguments
        if verb not in VERBS:
            raise UnknownName("verb", verb, VERBS)
        plugins.check_shadowing()
        return int(importlib.import_module(f"robolearn.verbs.{verb}").main(rest))
    except RobolearnError as error:
        _tell(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        return _tell(str(MissingDependency(package, _EXTRAS[package], f"robolearn {arguments[0]}")))
    except KeyboardInterrupt:
        _tell("Interrupted. What was saved before is intact.")
        return 130
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        return _tell(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")


def parse(
    verb: type[Any],
    arguments: Sequence[str],
    *,
    prog: str,
    parts: Mapping[str, str] | None = None,
    configs: Mapping[str, type[Any]] | None = None,
) -> Any:
    """Read a verb's dataclass from arguments.

    Args:
        verb: A dataclass with a docstring and defaults.
        arguments: What follows the verb.
        prog: How the command is called.
        parts: Fields that name a plugin, to the plugin's kind: {"task": "env"} makes `--task lift` choose the env
            plugin and adds its fields as `--task.<field>`; the config object is found in the result's `task_config`.
        configs: Further prefixes of flags and the config classes behind them, where something else than the prefix
            names the plugin: {"operator": LiftExpertConfig} adds `--operator.<field>` and `operator_config`.
    """
    import tyro

    fields: list[tuple[str, Any, Any]] = []
    classes = {part: plugins.load(kind, chosen(verb, arguments, part)) for part, kind in (parts or {}).items()}
    for part, cls in (classes | dict(configs or {})).items():
        annotation: Any = Annotated[cls, tyro.conf.arg(name=part)]
        fields.append((f"{part}_config", annotation, dataclasses.field(default_factory=cls)))
    full = dataclasses.make_dataclass(verb.__name__, fields, bases=(verb,), frozen=True, kw_only=True)
    full.__doc__ = verb.__doc__
    read: Any = tyro.cli  # its overloads are too open for strict checking
    return read(full, args=list(arguments), prog=prog, description=verb.__doc__)


def say(*lines: str) -> None:
    """Print to stdout; the one place where verbs talk."""
    print(*lines, sep="\n", flush=True)  # noqa: T201


def chosen(verb: type[Any], arguments: Sequence[str], flag: str) -> str:
    """The value of one of a verb's flags, before anything is parsed."""
    for k, argument in enumerate(arguments):
        if argument == f"--{flag}" and k + 1 < len(arguments):
            return arguments[k + 1]
        if argument.startswith(f"--{flag}="):
            return argument.partition("=")[2]
    return str(next(f.default for f in dataclasses.fields(verb) if f.name == flag))


def _tell(message: str) -> int:
    sys.stderr.write(textwrap.fill(f"robolearn: {message}", 110, break_long_words=False, break_on_hyphens=False) + "\n")
    return 1


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            f"robolearn {__version__}: record demonstrations, train and distil policies, deploy them.",
            "",
            "usage: robolearn <verb> [options]          robolearn <verb> --help",
            "",
            *lines,
        ]
    )


if __name__ == "__main__":
    main()
