"""The main job in small, through the command line as a user types it, and the mistakes they make on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robolearn import cli
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.stages.evaluate import read_evaluation

SMALL = ["--policy.width", "32", "--policy.depth", "1", "--train.batch-size", "32"]


def robolearn(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.run([str(a) for a in arguments])
    out = capsys.readouterr()
    return code, out.out, " ".join(out.err.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six recorded episodes and a policy that was trained on them far too briefly."""
    root = tmp_path_factory.mktemp("job")
    assert cli.run(["record", "--store", str(root / "lift"), "--episodes", "6", "--task.n", "3"]) == 0
    run = ["train", "--store", str(root / "lift"), "--out", str(root / "run"), "--train.steps", "30", *SMALL]
    assert cli.run(run) == 0
    return root


def test_recorded_episodes_are_demonstrations(folder):
    store = Store.open(folder / "lift")
    assert len(store) == 6
    for episode in store:
        assert episode.outcome is Outcome.SUCCESS
        assert episode.meta.instruction
        assert "subtask" in episode.notes
    assert not store.verify()


def test_replaying_what_was_sent_reproduces_it_exactly(folder, capsys):
    code, out, _ = robolearn(capsys, "replay", "--store", folder / "lift", "--task", "lift")
    assert code == 0
    assert "6 of 6 ended as recorded; largest joint deviation 0.0000 rad" in out


def test_training_writes_a_run_that_explains_itself(folder):
    run = folder / "run"
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["stage"], manifest["finished"]) == ("imitation", True)
    assert "A diffusion policy trained on 6 episodes" in (run / "report.html").read_text()
    (checkpoint,) = (run / "checkpoints").iterdir()
    kept = {path.name for path in checkpoint.iterdir()}
    assert {"model.safetensors", "config.json", "specs.json", "stats.json", "state.json"} <= kept


def test_a_finished_run_is_not_trained_again(folder, capsys):
    before = (folder / "run" / "report.html").stat().st_mtime_ns
    again = ["train", "--store", folder / "lift", "--out", folder / "run", "--train.steps", "30", *SMALL]
    assert robolearn(capsys, *again)[0] == 0
    assert (folder / "run" / "report.html").stat().st_mtime_ns == before
    code, _, err = robolearn(capsys, *again[:-1], "16")
    assert code == 1
    assert "holds a different run" in err
    assert "batch_size" in err


def test_evaluation_measures_films_and_repeats(folder, capsys):
    job = ["evaluate", "--checkpoint", folder / "run", "--task.n", "4", "--episodes", "5", "--films", "1"]
    code, out, _ = robolearn(capsys, *job, "--out", folder / "a")
    assert code == 0
    assert "run in lift:" in out
    assert robolearn(capsys, *job, "--out", folder / "b")[0] == 0
    a, b = read_evaluation(folder / "a"), read_evaluation(folder / "b")
    assert (a.seeds, a.outcomes, a.seconds) == (b.seeds, b.outcomes, b.seconds)
    assert len(a.decision_ms) == 2
    assert list((folder / "a" / "films").glob("*.mp4"))
    page = (folder / "a" / "report.html").read_text()
    assert "95 % interval" in page
    assert "data:video/mp4;base64," in page


def test_two_policies_meet_the_same_starts(folder, capsys):
    code, _, _ = robolearn(
        capsys, "evaluate", "--out", folder / "e", "--episodes", "5", "--task.n", "2", "--films", "0"
    )
    assert code == 0
    expert = read_evaluation(folder / "e")
    job = ["evaluate", "--checkpoint", folder / "run", "--episodes", "5", "--films", "0", "--out", folder / "c"]
    assert robolearn(capsys, *job)[0] == 0
    assert read_evaluation(folder / "c").seeds == expert.seeds
    assert all(expert.successes)
    assert np.isfinite(expert.jerk).all()


def test_ctrl_c_in_training_saves_and_the_same_command_goes_on(folder, tmp_path):
    command = [sys.executable, "-m", "robolearn.cli", "train", "--store", str(folder / "lift")]
    command += ["--out", str(tmp_path / "run"), "--train.steps", "200", "--train.log-every", "5", *SMALL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        metrics = tmp_path / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text()):
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 75, err
    assert "It is resumable" in " ".join(err.split())
    assert "Traceback" not in err
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "Trained policy" in done.stdout


def test_training_on_nothing_says_so(tmp_path, capsys):
    Store.create(tmp_path / "empty")
    code, _, err = robolearn(capsys, "train", "--store", tmp_path / "empty", "--out", tmp_path / "run")
    assert code == 1
    assert "Expected episodes in" in err
    assert "Record or import some" in err
    code, _, err = robolearn(capsys, "replay", "--store", tmp_path / "empty")
    assert code == 1
    assert "Expected episodes to replay" in err


def test_asking_for_more_episodes_than_there_are(folder, tmp_path, capsys):
    job = ["train", "--store", folder / "lift", "--out", tmp_path / "run", "--episodes", "7"]
    code, _, err = robolearn(capsys, *job)
    assert code == 1
    assert "Expected 7 episodes" in err
    assert "found 6" in err


@pytest.mark.slow
def test_a_policy_is_refused_by_an_environment_it_was_not_made_for(folder, tmp_path, capsys):
    job = [
        "evaluate",
        "--checkpoint",
        folder / "run",
        "--task",
        "robosuite",
        "--episodes",
        "1",
        "--out",
        tmp_path / "e",
    ]
    code, _, err = robolearn(capsys, *job)
    assert code == 1
    assert "does not fit the environment 'lift': of its observations, 'arm.q' differs in names" in err
    assert "Use the environment it was made for" in err


def test_a_damaged_checkpoint_is_named(folder, tmp_path, capsys):
    import shutil

    shutil.copytree(folder / "run", tmp_path / "run")
    (weights,) = (tmp_path / "run" / "checkpoints").glob("*/model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    job = ["evaluate", "--checkpoint", tmp_path / "run", "--episodes", "1", "--out", tmp_path / "e"]
    code, _, err = robolearn(capsys, *job)
    assert code == 1
    assert "model.safetensors" in err
