import dataclasses
import errno
import os
from pathlib import Path

import pytest

from robolearn.errors import ArtefactError, StorageFull
from robolearn.runs import Manifest, folder_hash, read_manifest, run_stage, write_json


def manifest(**changes) -> Manifest:
    base = Manifest("imitation", {"steps": 10, "policy": {"plugin": "diffusion"}}, {"store": "abc"}, 0, "0.1", False)
    return dataclasses.replace(base, **changes)


def test_a_finished_run_is_skipped_and_a_half_finished_one_resumes(tmp_path: Path):
    calls = []

    def fails(out: Path, resume: bool) -> None:
        calls.append(resume)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        run_stage(tmp_path / "run", manifest(), fails)
    run_stage(tmp_path / "run", manifest(), lambda out, resume: calls.append(resume))
    run_stage(tmp_path / "run", manifest(), fails)  # finished: not called
    assert calls == [False, True]
    found = read_manifest(tmp_path / "run")
    assert found is not None
    assert found.finished


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed 0 there, 1 here"),
        ({"config": {"steps": 20, "policy": {"plugin": "diffusion"}}}, "config.steps is 10 there, 20 here"),
        ({"inputs": {"store": "def"}}, "inputs.store is 'abc' there, 'def' here"),
    ],
)
def test_another_run_in_the_folder_is_refused_naming_the_difference(tmp_path: Path, change, message):
    run_stage(tmp_path / "run", manifest(), lambda out, resume: None)
    with pytest.raises(ArtefactError, match=message):
        run_stage(tmp_path / "run", manifest(**change), lambda out, resume: None)


def test_a_new_code_version_alone_does_not_invalidate_a_run(tmp_path: Path):
    run_stage(tmp_path / "run", manifest(), lambda out, resume: None)
    run_stage(tmp_path / "run", manifest(code="0.2"), lambda out, resume: pytest.fail("ran again"))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtefactError, match="is not empty and holds no run"):
        run_stage(tmp_path, manifest(), lambda out, resume: None)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_full_disk_keeps_the_old_file_and_leaves_no_debris(tmp_path: Path, monkeypatch):
    path = tmp_path / "facts.json"
    write_json(path, {"a": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match=r"No room to write .*facts.json.*before is intact"):
        write_json(path, {"a": 2})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["facts.json"]


def test_non_finite_numbers_never_reach_a_json_file(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_folder_hash_sees_names_and_contents(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    first = folder_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = folder_hash(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, folder_hash(tmp_path)}) == 3
