"""Who practises where: corrections and online RL where practice is asked for; whatever compares, in the task itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robolearn.stages import improvement
from robolearn.stages.improvement import Improvement

ENV = {"plugin": "lift", "n": 8}


@pytest.fixture
def stages(monkeypatch):
    """Every stage of the pipeline replaced by one that only says what it was given."""
    given: dict[str, dict[str, Any]] = {}

    def fake(name):
        names = {"OnlineRL": ("env",), "Distill": ("env",), "Evaluate": ("env",), "OfflineRL": ("store", "checkpoint")}
        names |= {"Corrections": ("store", "checkpoint", "env"), "Growth": ("store", "checkpoint", "env")}

        def stage(*args, **fields):
            given[name] = dict(zip(names.get(name, ()), args, strict=False)) | fields
            return SimpleNamespace(run=lambda out: Path(out))

        return stage

    for name in ("Imitation", "Corrections", "OfflineRL", "Growth", "OnlineRL", "Distill", "Export", "Evaluate"):
        monkeypatch.setattr(improvement, name, fake(name))
    monkeypatch.setattr(improvement, "read_evaluation", lambda folder: folder)
    monkeypatch.setattr(improvement, "write_report", lambda out, *rest: out)
    return given


def test_policies_practise_in_one_environment_and_are_compared_in_another(stages, tmp_path):
    job = Improvement("store", ENV, {}, practice={"astray": 0.5}, corrections={"rounds": 1})
    job.run(tmp_path)
    astray = {name: fields["env"]["astray"] for name, fields in stages.items() if "env" in fields}
    compared = {"OfflineRL": 0.0, "Growth": 0.0, "Distill": 0.0, "Evaluate": 0.0}
    assert astray == compared | {"OnlineRL": 0.5, "Corrections": 0.5}
    assert stages["Corrections"]["tried"]["astray"] == 0.0
    assert stages["Corrections"]["trial"] == 200
