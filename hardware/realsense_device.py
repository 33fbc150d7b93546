"""A RealSense device as librealsense lists it: choosing one, its presets, options, modes and intrinsics.

Every refusal names what the connected cameras do offer.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from robolearn.bench.calibration import Intrinsics
from robolearn.errors import BenchError, MissingDependency, UnknownName
from robolearn.specs import Array

__all__ = [
    "choose_device",
    "device_info",
    "intrinsics",
    "millimetres",
    "modes",
    "realsense_sdk",
    "set_options",
]


def realsense_sdk(needed_for: str) -> Any:
    """The module pyrealsense2.

    Raises:
        MissingDependency: It is not installed.
        BenchError: It is installed but the system library it needs is not.
    """
    try:
        return importlib.import_module("pyrealsense2")
    except ModuleNotFoundError as error:
        raise MissingDependency("pyrealsense2", "realsense", needed_for) from error
    except ImportError as error:
        raise BenchError(
            f"{needed_for} needs pyrealsense2, which is installed but does not load: {error}. "
            "On Debian: apt install libusb-1.0-0"
        ) from error


def choose_device(rs: Any, devices: Sequence[Any], *, name: str, serial: str) -> Any:
    """The device with this serial number, or the only one when `serial` is "".

    Raises:
        BenchError: None is connected, or several and no serial number is given.
        UnknownName: The serial number is not there; the message lists those that are.
    """
    found = {device_info(device, rs.camera_info.serial_number): device for device in devices}
    if not found:
        raise BenchError(
            f"Camera {name!r}: expected {f'the RealSense {serial}' if serial else 'a RealSense'}, found none "
            "connected. Check the cable (USB 3) and, on Linux, librealsense's udev rules."
        )
    if serial and serial not in found:
        raise UnknownName(f"serial number of camera {name!r}", serial, found, hint="These are connected now.")
    if not serial and len(found) > 1:
        raise BenchError(
            f"Camera {name!r}: {len(found)} cameras are connected ({', '.join(sorted(found))}). Set serial."
        )
    return found[serial] if serial else next(iter(found.values()))


def set_options(rs: Any, device: Any, *, name: str, preset: str, options: Sequence[tuple[str, float]]) -> None:
    """Put timestamps on the device's clock, choose the depth preset and set options.

    Raises:
        UnknownName: The camera has no such preset or option; the message lists what it has.
        BenchError: It has no presets at all, or refuses a value.
    """
    sensors = list(device.query_sensors())
    for sensor in sensors:
        if sensor.supports(rs.option.global_time_enabled):
            sensor.set_option(rs.option.global_time_enabled, 0)
    if preset:
        with_preset = [s for s in sensors if s.supports(rs.option.visual_preset)]
        if not with_preset:
            raise BenchError(f"Camera {name!r} has no depth presets; found preset {preset!r}. Remove it.")
        for sensor in with_preset:
            presets = _presets(rs, sensor)
            if preset not in presets:
                raise UnknownName(f"preset of camera {name!r}", preset, presets)
            sensor.set_option(rs.option.visual_preset, presets[preset])
    for option, value in options:
        members = rs.option.__members__
        with_option = [s for s in sensors if option in members and s.supports(members[option])]
        if not with_option:
            offered = {n for n, o in members.items() for s in sensors if s.supports(o)}
            raise UnknownName(f"option of camera {name!r}", option, offered)
        for sensor in with_option:
            try:
                sensor.set_option(members[option], value)
            except RuntimeError as error:
                raise BenchError(f"Camera {name!r} refuses {option} = {value:g}: {error}.") from error


def device_info(device: Any, key: Any) -> str:
    """A text such as the serial number, "" when the device does not say."""
    return str(device.get_info(key)) if device.supports(key) else ""


def _presets(rs: Any, sensor: Any) -> dict[str, float]:
    """Preset names of a depth sensor with their option values; librealsense numbers what a model does not name."""
    limits = sensor.get_option_range(rs.option.visual_preset)
    names = {int(member): name.replace("_", " ").title() for name, member in rs.rs400_visual_preset.__members__.items()}
    values = range(int(limits.min), int(limits.max) + 1)
    return {sensor.get_option_value_description(rs.option.visual_preset, v) or names.get(v, str(v)): v for v in values}


def modes(rs: Any, device: Any) -> str:
    """Every size and rate of color and depth, for a message."""
    found: set[str] = set()
    for sensor in device.query_sensors():
        for profile in sensor.get_stream_profiles():
            if profile.format() in (rs.format.rgb8, rs.format.z16):
                video = profile.as_video_stream_profile()
                kind = "depth" if profile.format() == rs.format.z16 else "color"
                found.add(f"{kind} {video.width()} x {video.height()} at {video.fps()} Hz")
    return ", ".join(sorted(found)) or "none with color rgb8 or depth z16"


def intrinsics(found: Any) -> Intrinsics:
    """Our form of librealsense's intrinsics."""
    model = str(found.model).rpartition(".")[2]
    return Intrinsics(
        width=found.width,
        height=found.height,
        fx=found.fx,
        fy=found.fy,
        cx=found.ppx,
        cy=found.ppy,
        distortion=tuple(float(c) for c in found.coeffs),
        model="brown_conrady" if model == "none" else model,
    )


def millimetres(raw: Array, unit_m: float) -> Array:
    """Depth in whole millimetres: a copy when the camera counts in them, else rounded and limited to 65.535 m."""
    if abs(unit_m - 1e-3) < 1e-9:
        return np.array(raw, np.uint16, copy=True)
    return np.minimum(np.rint(raw * (unit_m * 1e3)), 65535).astype(np.uint16)
