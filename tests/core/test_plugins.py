import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest

from robolearn import plugins
from robolearn.errors import MissingDependency, ShadowedPackage, SpecError, UnknownName


@dataclass(frozen=True)
class ArmConfig:
    host: str = "localhost"
    rate_hz: float = 125.0
    axes: int = 6
    home: tuple[float, ...] = (0.0, 1.0)
    cameras: tuple[tuple[str, int, int], ...] = ()
    mode: Literal["position", "velocity"] = "position"
    serial: str | None = None


@pytest.fixture
def arm(monkeypatch):
    point = EntryPoint("arm", f"{ArmConfig.__module__}:ArmConfig", "robolearn.robot")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == "robolearn.robot" else [])
    monkeypatch.setitem(sys.modules, ArmConfig.__module__, sys.modules[ArmConfig.__module__])
    return ArmConfig


def test_our_own_parts_come_through_the_door():
    assert "lift" in plugins.names("env")
    assert "diffusion" in plugins.names("policy")


def test_listing_names_imports_nothing():
    import subprocess

    code = "import sys; from robolearn import plugins; plugins.names('policy'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_dict_form_round_trips(arm):
    config = arm(host="10.0.0.2", home=(1.0, 2.0, 3.0), cameras=(("wrist", 84, 84),), mode="velocity", serial="x")
    data = plugins.to_dict("robot", config)
    assert data["plugin"] == "arm"
    assert plugins.from_dict("robot", data) == config
    assert plugins.from_dict("robot", {"plugin": "arm", "rate_hz": 100}).rate_hz == 100.0


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"plugin": "arn"}, UnknownName, r"Unknown robot plugin 'arn'. Did you mean 'arm'\? Valid names: arm\."),
        ({"host": "a"}, SpecError, r'needs the key "plugin"; found \[\'host\'\]. Possible: arm'),
        (
            {"plugin": "arm", "hots": "a"},
            UnknownName,
            r"Unknown field of the robot plugin 'arm' 'hots'. Did you mean 'host'",
        ),
        ({"plugin": "arm", "axes": "six"}, SpecError, r"robot.arm.axes: expected <class 'int'>, found 'six' \(str\)"),
        ({"plugin": "arm", "axes": True}, SpecError, r"axes: expected"),
        ({"plugin": "arm", "home": [0.0, "b"]}, SpecError, r"home\[1\]: expected <class 'float'>, found 'b'"),
        ({"plugin": "arm", "mode": "positon"}, UnknownName, r"mode 'positon'. Did you mean 'position'"),
    ],
)
def test_wrong_dicts_are_refused_by_name(arm, data, error, message):
    with pytest.raises(error, match=message):
        plugins.from_dict("robot", data)


def test_unknown_kind_lists_the_kinds():
    with pytest.raises(UnknownName, match="Did you mean 'camera'"):
        plugins.names("camara")


def test_a_missing_package_names_its_extra(monkeypatch):
    point = EntryPoint("missing", "missing_sdk_module:Config", "robolearn.robot")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    monkeypatch.setitem(plugins._EXTRAS, "missing_sdk_module", "hardware")
    with pytest.raises(MissingDependency, match=r"'missing_sdk_module', which is not installed.*\[hardware\]"):
        plugins.load("robot", "missing")


def test_a_foreign_package_in_our_place_is_named(tmp_path: Path, monkeypatch):
    (tmp_path / "teleop").mkdir()
    (tmp_path / "teleop" / "__init__.py").write_text("")
    plugins.check_shadowing()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [m for m in sys.modules if m.partition(".")[0] == "teleop"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ShadowedPackage, match=rf"'teleop' .* is not ours.*found {tmp_path}.*pip uninstall teleop"):
        plugins.check_shadowing()
