"""An exported policy on a robot's computer: every verb that runs policies runs it, and none of them touches torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robolearn.data.store import Store
from robolearn.episode import Actor
from robolearn.errors import ArtefactError
from robolearn.remote.client import RemoteConfig
from robolearn.trained import load_model

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent)
from robolearn.cli import run
sys.exit(run(sys.argv[1:]))
"""


def test_deploy_runs_it_on_the_panda_twin_without_torch(exported, patient_bench, tmp_path):
    bench, store = patient_bench("panda_twin", horizon=30), tmp_path / "store"
    command = ["deploy", str(exported), "--bench", str(bench), "--record", str(store)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with Store.open(store) as kept:
        (id,) = kept.ids()
        episode = kept[id]
    assert np.all(episode.actor == Actor.POLICY)
    assert len(episode.meta.extra["policy_hash"]) == 64
    gap = np.linalg.norm(episode.observations["cube.position"] - episode.observations["tool.position"], axis=1)
    assert gap[-1] < 0.5 * gap[0], "the exported policy did not lead the tool to the cube"


def test_serve_answers_with_it_without_torch(exported):
    command = [sys.executable, "-u", "-c", WITHOUT_TORCH, "serve", str(exported), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            address = said.split(" answers at ")[1].split(",")[0]
            with RemoteConfig(address, deadline_s=10.0).build() as remote:
                seen = {"tool.position": np.zeros((1, 1, 3)), "cube.position": np.array([[[0.01, -0.4, 0.005]]])}
                answer = remote.predict(seen, np.zeros(1, np.uint64))
        finally:
            process.kill()
    np.testing.assert_allclose(answer["arm.delta"][0, 0], [0.01, -0.02, 0.005, 0, 0, 0], atol=1e-7)
    assert answer["gripper.command"][0, 0] == -1.0


def test_what_is_no_policy_says_what_would_be_one(exported, tmp_path):
    model, fingerprint = load_model(exported)
    assert model.chunk == 1
    assert fingerprint != load_model(_changed(exported, tmp_path / "changed"))[1]
    with pytest.raises(ArtefactError, match=r"found nothing\. Possible: a training run"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match="found a file"):
        load_model(exported / "policy.onnx")


def _changed(folder, copy):
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes() + (b"\n" if file.suffix == ".json" else b""))
    return copy
