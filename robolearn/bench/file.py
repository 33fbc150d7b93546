"""The facts of one bench, read from TOML, and the bench made of them.

A bench file says what stands on a table and how far it may go: addresses and serial numbers, limits, cameras and where
they sit, the task and its rate (`launch/benches/*.toml`, `docs/deploy.md`). It holds no code and names parts only by
their plugin. Everything is checked before anything is connected: an unknown key is answered with the closest one, a
missing or impossible number names its key, and a bench without a complete set of limits does not arm.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from robolearn import plugins
from robolearn.bench.calibration import Calibration, load_calibration, pose_matrix
from robolearn.errors import BenchError, RobolearnError, UnknownName
from robolearn.safety import Limits
from robolearn.task import Task

__all__ = ["BenchFile", "CameraFacts", "Control", "Extrinsics", "Mount", "read_bench"]


@dataclass(frozen=True, slots=True)
class Control:
    """How displacements of the tool become joint targets (`[control]`; left out, actions are joint targets)."""

    home: tuple[float, ...]
    """Posture to which spare joints are drawn, rad."""
    damping: float = 0.02
    """Damping of the least-squares step; see `task_space`."""
    posture: float = 0.05
    """Part of the distance to `home` that the null space covers in one step."""


_STILL = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))


@dataclass(frozen=True, slots=True)
class Mount:
    """Where the arm stands and what it carries (`[mount]`); see `mounted`."""

    T_base_robot: tuple[tuple[float, ...], ...] = _STILL
    """(4, 4) rows of the pose of the arm's own base in the bench's base frame; metres."""
    T_reported_tool: tuple[tuple[float, ...], ...] = _STILL
    """(4, 4) rows of the pose of the bench's tool point in the tool frame that the driver reports."""
    tool_reference: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 0.0)
    """Quaternions of the tool are given the sign nearest to this one (w, x, y, z); pointing down by default."""


@dataclass(frozen=True, slots=True)
class Extrinsics:
    """Where a camera sits (`[cameras.<name>.extrinsics]`)."""

    mount: Literal["base", "tool"]
    """What it is fixed to."""
    T_mount_camera: tuple[tuple[float, ...], ...]
    """(4, 4) rows of its pose there; metres."""


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """One camera or other sensor of a bench.

    Attributes:
        config: The plugin's config.
        calibration: Its calibration, None when the file names none.
        extrinsics: Where it sits, None when the file does not say.
    """

    config: Any
    calibration: Calibration | None
    extrinsics: Extrinsics | None


@dataclass(frozen=True, slots=True)
class BenchFile:
    """A bench file that is known to be whole.

    Attributes:
        path: Where it was read.
        name: Name of the bench.
        task: What is done there.
        robot: The robot plugin's config.
        limits: What it may do at most; complete.
        cameras: By name.
        body: Config of the arm's shape, with which the gate keeps its distance.
        robot_hz: Set points per second to the robot, between decisions; 0 sends only the decisions.
        world: Config of the scene that simulated devices share, None on a real bench.
        control: How displacements become joint targets, None when actions are joint targets.
        mount: Where the arm stands and what it carries, None when its frames are the bench's.
        shadow: The bench that moves in place of this one in shadow mode, None when there is none.
        sha256: Of the file's bytes.
    """

    path: Path
    name: str
    task: Task
    robot: Any
    limits: Limits
    cameras: Mapping[str, CameraFacts]
    body: Any
    robot_hz: float = 0.0
    world: Any = None
    control: Control | None = None
    mount: Mount | None = None
    shadow: Path | None = None
    sha256: str = ""

    def facts(self) -> dict[str, Any]:
        """What belongs into every episode recorded here: the file's hash, calibrations and where cameras sit."""
        cameras = {
            name: {
                "calibration": camera.calibration.hash if camera.calibration else "",
                "extrinsics": dataclasses.asdict(camera.extrinsics) if camera.extrinsics else None,
            }
            for name, camera in self.cameras.items()
        }
        return {"bench_file": self.path.name, "bench_sha256": self.sha256, "cameras": cameras}


@dataclass(frozen=True, slots=True)
class _Bench:
    """`[bench]`"""

    name: str
    rate_hz: float
    robot_hz: float = 0.0
    shadow: str = ""


@dataclass(frozen=True, slots=True)
class _Task:
    """`[task]`"""

    name: str
    instruction: str
    horizon: int
    robot: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    """The tables of a bench file."""

    bench: Mapping[str, Any]
    task: Mapping[str, Any]
    robot: Mapping[str, Any]
    body: Mapping[str, Any]
    limits: Mapping[str, Any]
    cameras: Mapping[str, Any] = field(default_factory=lambda: {})
    world: Mapping[str, Any] = field(default_factory=lambda: {})
    control: Mapping[str, Any] = field(default_factory=lambda: {})
    mount: Mapping[str, Any] = field(default_factory=lambda: {})


def read_bench(path: Path | str) -> BenchFile:
    """Read and check a bench file; nothing is connected.

    Raises:
        BenchError: No such file, not TOML, or a key is unknown, missing, of the wrong type, not finite or impossible;
            the message names the key.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        tables: dict[str, Any] = tomllib.loads(content.decode())
    except FileNotFoundError as error:
        beside = sorted(p.name for p in path.parent.glob("*.toml"))
        raise BenchError(
            f"There is no bench file {path} (in its folder: {', '.join(beside) or 'none'}). See docs/deploy.md."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} is not a TOML file: {error}.") from error
    try:
        return _bench(path, content, tables)
    except RobolearnError as error:
        raise BenchError(f"{path}: {error}") from error


def _bench(path: Path, content: bytes, tables: Mapping[str, Any]) -> BenchFile:
    _require_finite("", tables)
    parts: _File = _table(_File, "", tables)
    bench: _Bench = _table(_Bench, "bench", parts.bench)
    told: _Task = _table(_Task, "task", parts.task)
    if not 0 < bench.rate_hz <= 1000:
        raise BenchError(f"bench.rate_hz must lie in (0, 1000] decisions per second; found {bench.rate_hz}.")
    if bench.robot_hz and not bench.rate_hz <= bench.robot_hz <= 1000:
        raise BenchError(
            f"bench.robot_hz must lie between bench.rate_hz, {bench.rate_hz}, and 1000 set points per second; found "
            f"{bench.robot_hz}. Leave it out to send only the decisions."
        )
    if told.horizon < 1:
        raise BenchError(f"task.horizon must be at least 1 decision; found {told.horizon}.")
    limits = _limits(parts.limits)
    control: Control | None = _table(Control, "control", parts.control) if parts.control else None
    if control is not None and not (0 < control.damping < 1 and 0 <= control.posture <= 1):
        raise BenchError(
            f"control.damping must lie in (0, 1) and control.posture in [0, 1]; found {control.damping} and "
            f"{control.posture}."
        )
    mount: Mount | None = _table(Mount, "mount", parts.mount) if parts.mount else None
    if mount is not None:
        pose_matrix(mount.T_base_robot, "mount.T_base_robot")
        pose_matrix(mount.T_reported_tool, "mount.T_reported_tool")
    shadow = path.parent / bench.shadow if bench.shadow else None
    if shadow is not None and not shadow.is_file():
        raise BenchError(f"bench.shadow names {bench.shadow!r}, and there is no such file beside this one.")
    return BenchFile(
        path=path,
        name=bench.name,
        task=Task(told.name, told.instruction, bench.rate_hz, told.horizon, told.robot),
        robot=_part("robot", "robot", parts.robot),
        limits=limits,
        cameras={name: _camera(path, f"cameras.{name}", table) for name, table in parts.cameras.items()},
        body=_part("body", "body", parts.body),
        robot_hz=bench.robot_hz,
        world=_part("world", "world", parts.world) if parts.world else None,
        control=control,
        mount=mount,
        shadow=shadow,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _camera(path: Path, where: str, table: object) -> CameraFacts:
    facts = dict(_mapping(where, table))
    calibration, extrinsics = facts.pop("calibration", None), facts.pop("extrinsics", None)
    config = _part("camera", where, facts)
    found: Calibration | None = None
    if calibration is not None:
        if not isinstance(calibration, str):
            raise BenchError(f"{where}.calibration must be the path of a file; found {calibration!r}.")
        found = load_calibration(path.parent / calibration)
        serial = getattr(config, "serial", "")
        if found.serial and serial and found.serial != serial:
            raise BenchError(
                f"{where}.calibration belongs to the camera with serial {found.serial!r}, but {where}.serial is "
                f"{serial!r}. Calibrate this camera, or correct the file."
            )
    if extrinsics is None:
        return CameraFacts(config, found, None)
    placed: Extrinsics = _table(Extrinsics, f"{where}.extrinsics", extrinsics)
    pose_matrix(placed.T_mount_camera, f"{where}.extrinsics.T_mount_camera")
    return CameraFacts(config, found, placed)


def _limits(table: Mapping[str, Any]) -> Limits:
    known = {f.name for f in dataclasses.fields(Limits)}
    for key in table:
        if key not in known:
            raise UnknownName("key", f"limits.{key}", [f"limits.{name}" for name in known])
    if missing := [f"limits.{name}" for name in ("rate", "measured") if name not in table]:
        raise BenchError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. Refusing to arm.")
    try:
        limits = Limits(**table)
        limits.require_complete()
    except RobolearnError as error:
        raise BenchError(f"[limits]: {error}") from error
    return limits


def _part(kind: str, where: str, table: object) -> Any:
    """A plugin's config from its table."""
    facts = _mapping(where, table)
    try:
        return plugins.from_dict(kind, facts)
    except RobolearnError as error:
        raise BenchError(f"[{where}]: {error}") from error


def _table(cls: type[Any], where: str, table: object) -> Any:
    """A dataclass from a table, with every key known, none missing and all of the right type."""
    facts = _mapping(where or "The file", table)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    prefix = f"{where}." if where else ""
    for key in facts:
        if key not in fields:
            raise UnknownName("key", prefix + key, [prefix + name for name in fields])
    required = [
        prefix + name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and name not in facts
    ]
    if required:
        raise BenchError(f"{', '.join(required)} {'is' if len(required) == 1 else 'are'} missing. See docs/deploy.md.")
    hints = typing.get_type_hints(cls)
    if cls is _File:
        return cls(**{key: _mapping(key, value) for key, value in facts.items()})
    return cls(**{key: plugins.convert(value, hints[key], prefix + key) for key, value in facts.items()})


def _mapping(where: str, table: object) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise BenchError(f"{where} must be a table ([{where}] on a line of its own); found {table!r}.")
    return cast("Mapping[str, Any]", table)


def _require_finite(where: str, value: object) -> None:
    """TOML can write nan and inf; a number that is not finite never switches a limit off."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BenchError(f"{where} must be a finite number; found {value}.")
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            _require_finite(f"{where}.{key}" if where else key, item)
    if isinstance(value, list):
        for k, item in enumerate(cast("list[object]", value)):
            _require_finite(f"{where}[{k}]", item)
