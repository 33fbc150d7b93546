import contextlib
import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies.diffusion import DiffusionConfig
from robolearn.errors import ArtefactError, StorageFull, TrainingFault
from robolearn.learn import aside, checkpoint


def rebuilt(fields: Mapping[str, Any]):
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if k != "plugin"}
    return DiffusionConfig(**plain)


def observations(rows: int = 3):
    draw = np.random.default_rng(1)
    return {"arm.q": draw.normal(size=(rows, 2, 3)), "arm.tool": draw.normal(size=(rows, 2, 2)).astype(np.float32)}


def save(toy, root: Path, step: int, **options):
    return checkpoint.save(root, toy.build(), toy.DESCRIBED, step=step, **options)


def test_what_is_saved_is_loaded(toy, tmp_path: Path):
    model = toy.build()
    folder = checkpoint.save(tmp_path, model, toy.DESCRIBED, step=7, state={"note": "hello"})
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "specs.json",
        "state.json",
        "stats.json",
    ]
    again = checkpoint.load_policy(tmp_path, rebuilt)
    noise = np.arange(3, dtype=np.uint64)
    for name, value in model.eval().predict(observations(), noise).items():
        np.testing.assert_array_equal(again.predict(observations(), noise)[name], value)
    assert (again.history, again.chunk, again.training) == (2, 2, False)
    found = checkpoint.load(folder)
    assert (found.step, found.state["note"], found.observation_spec) == (7, "hello", toy.OBSERVATION_SPEC)


def test_a_fresh_process_predicts_the_same(toy, tmp_path: Path):
    """Through the plugin registry, as a robot would load it."""
    plugins = pytest.importorskip("robolearn.plugins")
    if "diffusion" not in plugins.names("policy"):
        pytest.skip("the project is not installed with its entry points")
    model = toy.build()
    checkpoint.save(tmp_path, model, plugins.to_dict("policy", toy.CONFIG), step=1)
    np.savez(tmp_path / "observations.npz", **observations())
    code = (
        "import sys, numpy as np, torch; torch.set_num_threads(1)\n"
        "from robolearn.learn.checkpoint import load_policy\n"
        "model = load_policy(__import__('pathlib').Path(sys.argv[1]))\n"
        "found = model.predict(dict(np.load(sys.argv[1] + '/observations.npz')), np.arange(3, dtype=np.uint64))\n"
        "np.savez(sys.argv[1] + '/found.npz', **found)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    found = np.load(tmp_path / "found.npz")
    for name, value in model.eval().predict(observations(), np.arange(3, dtype=np.uint64)).items():
        np.testing.assert_array_equal(found[name], value)


def test_only_the_newest_are_kept_and_last_is_found_by_looking(toy, tmp_path: Path):
    for step in (1, 2, 30):
        save(toy, tmp_path / "checkpoints", step, keep=2)
    assert [p.name for p in checkpoint.all_complete(tmp_path / "checkpoints")] == ["step_00000002", "step_00000030"]
    assert checkpoint.last(tmp_path) == tmp_path / "checkpoints" / "step_00000030"
    assert checkpoint.last(tmp_path / "nothing") is None


def test_an_incomplete_folder_does_not_count(toy, tmp_path: Path):
    good, bad = save(toy, tmp_path, 1), save(toy, tmp_path, 2)
    (bad / "stats.json").unlink()
    assert checkpoint.last(tmp_path) == good
    again = save(toy, tmp_path, 2)
    assert checkpoint.last(tmp_path) == again


def test_a_damaged_file_is_named(toy, tmp_path: Path):
    folder = save(toy, tmp_path, 1)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"model.safetensors of the checkpoint .* is damaged: expected SHA-256"):
        checkpoint.load(tmp_path)


def test_nothing_there_and_another_schema_are_refused(toy, tmp_path: Path):
    with pytest.raises(ArtefactError, match="Expected a complete checkpoint"):
        checkpoint.load(tmp_path)
    folder = save(toy, tmp_path, 1)
    state = json.loads((folder / "state.json").read_text()) | {"schema": 99}
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(ArtefactError, match="schema version 99; this version of robolearn reads 1"):
        checkpoint.load(folder)


def test_a_network_that_changed_is_named(toy, tmp_path: Path):
    save(toy, tmp_path, 1)
    with pytest.raises(ArtefactError, match=r"do not fit the network its config\.json describes"):
        checkpoint.load_policy(tmp_path, lambda fields: rebuilt(dict(fields) | {"width": 32}))


def test_a_policy_made_to_be_shipped_cannot_be_resumed(toy, tmp_path: Path):
    save(toy, tmp_path, 1)
    with pytest.raises(ArtefactError, match=r"has no optimizer.safetensors"):
        checkpoint.load(tmp_path).training()


def test_a_tensor_that_is_not_finite_is_never_saved(toy, tmp_path: Path):
    model = toy.build()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = torch.inf
    with pytest.raises(TrainingFault, match=r"The tensor .* has values that are not finite"):
        checkpoint.save(tmp_path, model, toy.DESCRIBED, step=1)
    assert list(tmp_path.iterdir()) == []


CALLS = ("os.fsync", "pathlib.Path.rename", "pathlib.Path.mkdir", "os.open")


class Killed(BaseException):
    """Stands for SIGKILL: not even a finally may tidy up."""


@pytest.mark.parametrize("after", range(12))
def test_a_kill_at_any_system_call_leaves_a_good_checkpoint(toy, tmp_path: Path, monkeypatch, after: int):
    save(toy, tmp_path, 1)
    count = 0
    monkeypatch.setattr("shutil.rmtree", lambda *a, **k: None)  # a killed process removes nothing
    for name in CALLS:
        owner, attribute = name.rsplit(".", 1)
        real = getattr(Path if owner == "pathlib.Path" else os, attribute)

        def counted(*args, real=real, **options):
            nonlocal count
            count += 1
            if count > after:
                raise Killed
            return real(*args, **options)

        monkeypatch.setattr(name, counted)
    with contextlib.suppress(Killed):
        save(toy, tmp_path, 2, keep=1)
    monkeypatch.undo()
    found = checkpoint.load(tmp_path)
    assert found.step in (1, 2)
    assert set(found.weights()) == set(toy.build().state_dict())
    aside.sweep(tmp_path)
    assert all(path.name.startswith("step_") for path in tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_keeps_the_old_one_and_leaves_nothing_half_written(
    toy, tmp_path: Path, monkeypatch, number: int
):
    good = save(toy, tmp_path, 1)

    def failing(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", failing)
    kind, message = (
        (StorageFull, "No space is left for the checkpoint .* Free some space and start the run again")
        if number == errno.ENOSPC
        else (ArtefactError, "could not be written: .* Older checkpoints are intact")
    )
    with pytest.raises(kind, match=message):
        save(toy, tmp_path, 2)
    assert list(tmp_path.iterdir()) == [good]
    assert checkpoint.load(tmp_path).step == 1


def test_a_real_file_size_limit_is_a_full_disk(toy, tmp_path: Path):
    good = save(toy, tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(StorageFull, match="File too large"):
            save(toy, tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [good]
