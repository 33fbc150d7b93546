"""Parts by name: entry points that name config classes, and the guard against shadowed packages.

A plugin is a frozen dataclass with `build()`, named by an entry point in one of the groups below. Names are
listed from installed metadata without importing anything; only the chosen one is loaded. Our own parts come
through the same door as strangers' parts. The only dict form of a config is
`{"plugin": "<name>", <field>: <value>, ...}`, used in TOML, in checkpoints and in manifests.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import typing
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import robolearn
from robolearn.errors import MissingDependency, ShadowedPackage, SpecError, UnknownName

__all__ = ["GROUPS", "check_shadowing", "convert", "from_dict", "load", "name_of", "names", "to_dict"]

GROUPS = (
    "env",
    "expert",
    "policy",
    "model",
    "world",
    "body",
    "robot",
    "twin",
    "camera",
    "teleop",
    "adversary",
    "reward",
    "stage",
)
"""Kinds of parts; the entry-point group of a kind is "robolearn.<kind>"."""

OURS = ("robolearn", "teleop", "hardware", "sim", "policies")
ROOT = Path(robolearn.__file__).resolve().parents[1]

# Extras that bring the packages a plugin may lack, to tell the user what to install.
_EXTRAS = {
    "mujoco": "sim",
    "robosuite": "sim",
    "torch": "train",
    "safetensors": "train",
    "diffusers": "train",
    "pyrealsense2": "realsense",
    "cv2": "camera",
    "dm_control": "human",
}


def names(kind: str) -> list[str]:
    """Installed plugin names of a kind, sorted; nothing is imported."""
    return sorted(_points(kind))


def load(kind: str, name: str) -> type[Any]:
    """The config class of a plugin.

    Raises:
        UnknownName: No such kind or plugin; the message lists the valid names and the closest one.
        ShadowedPackage: A foreign package stands where ours should.
        MissingDependency: The plugin's own optional packages are not installed.
    """
    points = _points(kind)
    if name not in points:
        hint = "A plugin added to pyproject.toml appears after installing again (make .venv)."
        raise UnknownName(f"{kind} plugin", name, points, hint=hint)
    point = points[name]
    package = point.module.partition(".")[0]
    if point.dist is not None and point.dist.name == "robolearn":
        _check_package(package)
    try:
        return point.load()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _EXTRAS:
            raise MissingDependency(missing, _EXTRAS[missing], f"The {kind} plugin {name!r}") from error
        raise


def name_of(kind: str, config: object) -> str:
    """The plugin name under which a config object's class is registered."""
    wanted = f"{type(config).__module__}:{type(config).__qualname__}"
    for name, point in _points(kind).items():
        if point.value == wanted:
            return name
    raise UnknownName(f"{kind} config class", wanted, [p.value for p in _points(kind).values()])


def to_dict(kind: str, config: Any) -> dict[str, Any]:
    """The dict form of a config, JSON-ready."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return {"plugin": name_of(kind, config)} | {name: _plain(value) for name, value in fields.items()}


def from_dict(kind: str, data: Mapping[str, Any]) -> Any:
    """The config object of a dict form.

    Raises:
        UnknownName: No "plugin" key, an unknown plugin or an unknown field (with the closest match).
        SpecError: A value of the wrong type.
    """
    if "plugin" not in data:
        raise SpecError(f'A {kind} needs the key "plugin"; found {sorted(data)}. Possible: {", ".join(names(kind))}.')
    cls = load(kind, str(data["plugin"]))
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key == "plugin":
            continue
        if key not in fields:
            raise UnknownName(f"field of the {kind} plugin {data['plugin']!r}", key, fields)
        values[key] = convert(value, hints[key], f"{kind}.{data['plugin']}.{key}")
    return cls(**values)


def convert(value: Any, hint: Any, where: str) -> Any:
    """Check a plain value against a field's type; lists become tuples, whole numbers floats.

    Raises:
        SpecError: It is of another type; `where` names it.
        UnknownName: It is none of a field's choices.
    """
    given: object = value
    origin: Any = typing.get_origin(hint)
    args: tuple[Any, ...] = typing.get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):
        items = list(typing.cast("list[Any]", value))
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(convert(v, args[0], f"{where}[{i}]") for i, v in enumerate(items))
        if len(args) == len(items):
            return tuple(convert(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(items, args, strict=True)))
    elif origin is typing.Literal:
        if value in args:
            return value
        raise UnknownName(f"value of {where}", str(value), [str(a) for a in args])
    elif args and origin is not tuple:  # a union
        for option in args:
            try:
                return convert(value, option, where)
            except SpecError:
                continue
    elif hint is Any or (hint is type(None) and value is None):
        return value
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise SpecError(f"{where}: expected {hint}, found {given!r} ({_type(given)}).")


def check_shadowing() -> None:
    """Refuse to go on when a foreign `teleop`, `sim`, `hardware` or `policies` is first on the import path."""
    for package in OURS:
        _check_package(package)


def _check_package(package: str) -> None:
    if package not in OURS:
        return
    spec = importlib.util.find_spec(package)
    found = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or []), None)
    if found is None:
        raise ShadowedPackage(package, "nothing", str(ROOT / package))
    if not Path(found).resolve().is_relative_to(ROOT / package):
        raise ShadowedPackage(package, found, str(ROOT / package))


def _points(kind: str) -> dict[str, EntryPoint]:
    if kind not in GROUPS:
        raise UnknownName("kind of plugin", kind, GROUPS)
    return {point.name: point for point in entry_points(group=f"robolearn.{kind}")}


def _type(value: object) -> str:
    return type(value).__name__


def _plain(value: Any) -> Any:
    return [_plain(v) for v in typing.cast("tuple[Any, ...]", value)] if isinstance(value, tuple) else value
