import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from robolearn.errors import ArtefactError, StorageFull, TrainingFault
from robolearn.learn import checkpoint, loop
from robolearn.learn.loop import Interrupted, TrainConfig, learning_rate


def tensors(out: Path) -> dict[str, torch.Tensor]:
    found = checkpoint.load(out)
    return {f"model {k}": v for k, v in found.weights().items()} | found.training()


def assert_same(one: Path, other: Path):
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("exp_avg_sq/") for name in ours)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert losses(one) == losses(other)


def losses(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


class StopAfter:
    """Windows that ask their own process to stop while gathering the batch of a step."""

    def __init__(self, windows, step: int, times: int = 1):
        self.windows, self.left, self.times = windows, step, times
        self.fingerprint = windows.fingerprint

    def __len__(self):
        return len(self.windows)

    def gather(self, indices):
        self.left -= 1
        if self.left == 0:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGTERM)
        return self.windows.gather(indices)


@pytest.mark.parametrize("at", [1, 4, 5, 9])
def test_a_resumed_run_is_bit_equal(toy, tmp_path: Path, at: int):
    toy.fit(tmp_path / "whole")
    with pytest.raises(Interrupted, match=f"SIGTERM after {at} of 10 steps .* resumable") as caught:
        toy.fit(tmp_path / "parts", windows=StopAfter(toy.Examples(), at, times=3))
    assert caught.value.step == at
    # Another initialisation and another global random state must not matter.
    torch.manual_seed(99)
    toy.fit(tmp_path / "parts", model=toy.build(seed=5))
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_killed_process_resumes_bit_equal(toy, tmp_path: Path):
    """SIGKILL in the middle: the run goes on from the last checkpoint."""
    out, steps = tmp_path / "killed", 100
    command = [sys.executable, str(toy.path), str(out), str(steps), "20"]
    environment = os.environ | {"PYTHONPATH": str(Path(loop.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait_for(lambda: checkpoint.last(out) is not None, child)
    child.kill()
    child.wait()
    assert checkpoint.load(out).step < steps
    toy.fit(out, steps=steps, checkpoint_every=20)
    toy.fit(tmp_path / "whole", steps=steps, checkpoint_every=20)
    assert_same(out, tmp_path / "whole")


def test_sigterm_in_a_child_saves_and_resumes(toy, tmp_path: Path):
    out, steps = tmp_path / "stopped", 200
    command = [sys.executable, str(toy.path), str(out), str(steps), "1000"]
    environment = os.environ | {"PYTHONPATH": str(Path(loop.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (out / "metrics.jsonl").exists() and len(losses(out)) > 3, child)
    child.send_signal(signal.SIGTERM)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode != 0
    assert "Interrupted" in said
    assert "resumable" in said
    stopped = checkpoint.load(out)
    assert 0 < stopped.step < steps
    rest = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert rest.returncode == 0, rest.stderr
    toy.fit(tmp_path / "whole", steps=steps, checkpoint_every=1000)
    assert_same(out, tmp_path / "whole")


def wait_for(condition, child, seconds: float = 60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, "the child ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_finished_run_is_not_trained_again(toy, tmp_path: Path):
    first = toy.fit(tmp_path)
    before = (first.checkpoint / "state.json").stat().st_mtime_ns
    again = toy.build(seed=3)
    second = toy.fit(tmp_path, model=again)
    assert second.checkpoint == first.checkpoint
    assert (first.checkpoint / "state.json").stat().st_mtime_ns == before
    saved = checkpoint.load(tmp_path).weights()
    assert all(torch.equal(value, saved[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 9}, "training settings differ in 'batch_size': it has 8, asked for is 9"),
        ({"steps": 20}, "training settings differ in 'steps'"),
    ],
)
def test_resuming_with_other_settings_is_refused(toy, tmp_path: Path, changes: dict, message: str):
    toy.fit(tmp_path)
    with pytest.raises(ArtefactError, match=message):
        toy.fit(tmp_path, **changes)


def test_resuming_on_other_data_is_refused(toy, tmp_path: Path):
    toy.fit(tmp_path)
    with pytest.raises(ArtefactError, match="training data differ in 'fingerprint': it has 'toy-50-0'"):
        toy.fit(tmp_path, windows=toy.Examples(seed=1))


def test_settings_without_influence_may_change(toy, tmp_path: Path):
    toy.fit(tmp_path)
    toy.fit(tmp_path, log_every=1, keep=5)


class Poisoned:
    """Windows whose batches have NaN actions at these steps."""

    def __init__(self, windows, steps):
        self.windows, self.steps, self.step = windows, set(steps), 0

    def __len__(self):
        return len(self.windows)

    def gather(self, indices):
        batch = self.windows.gather(indices)
        if self.step in self.steps:
            batch["action"]["arm.dq"][:] = np.nan
        self.step += 1
        return batch


def test_a_batch_with_nan_makes_no_update(toy, tmp_path: Path, capsys):
    result = toy.fit(tmp_path, windows=Poisoned(toy.Examples(), {2, 3, 7}))
    assert result.skipped == 3
    assert all(torch.isfinite(value).all() for value in tensors(tmp_path).values())
    assert [line["step"] for line in losses(tmp_path) if "skipped" in line] == [3, 4, 8]
    assert "loss or gradient not finite, no update; windows [" in capsys.readouterr().err


def test_ten_bad_batches_in_a_row_stop_the_run_and_keep_the_last_good_checkpoint(toy, tmp_path: Path):
    model = toy.build()
    with pytest.raises(TrainingFault, match="not finite for 10 steps in a row") as caught:
        toy.fit(tmp_path, model=model, steps=40, windows=Poisoned(toy.Examples(), range(5, 40)))
    newest = checkpoint.load(tmp_path)
    assert newest.step < 15
    assert str(newest.path) in str(caught.value)
    assert all(torch.isfinite(value).all() for value in model.parameters())


def test_a_non_finite_gradient_makes_no_update(toy, tmp_path: Path):
    class Exploding(type(toy.build())):
        def loss(self, batch, generator):
            loss, numbers = super().loss(batch, generator)
            # A finite loss with an infinite gradient.
            weight = next(self.parameters())
            return loss + (weight - weight.detach()).clamp(min=0).sqrt().sum(), numbers

    model = toy.build()
    model.__class__ = Exploding
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = toy.fit(tmp_path, model=model, steps=5)
    assert result.skipped == 5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_threads_and_random_state_are_given_back(toy, tmp_path: Path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    toy.fit(tmp_path, threads=2, model=None)
    torch.manual_seed(1)
    model = toy.build(seed=1)
    torch.manual_seed(1)
    toy.fit(tmp_path / "other", model=model, threads=2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 1


def test_held_out_loss_and_hook_see_the_average_in_evaluation_mode(toy, tmp_path: Path):
    seen = []

    def hook(model, step):
        seen.append((step, model.training))
        return {"success": 0.5}

    settings = TrainConfig(steps=6, batch_size=8, evaluate_every=3)
    held_out = toy.Examples(11, 7)
    model = toy.build()
    loop.train(model, toy.Examples(), settings, tmp_path, validation=held_out, evaluate=hook, described=toy.DESCRIBED)
    assert seen == [(3, False), (6, False)]
    last_line = losses(tmp_path)[-1]
    assert last_line["success"] == 0.5
    assert last_line["held_out_loss"] == loop.held_out_loss(model, held_out, settings)


def test_no_space_is_noticed_before_the_first_step(toy, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(StorageFull, match=r"needs about .* MB for its checkpoints"):
        toy.fit(tmp_path)


def test_tensorboard_scalars_are_written(toy, tmp_path: Path):
    pytest.importorskip("tensorboard")
    toy.fit(tmp_path, tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_the_learning_rate_warms_up_and_falls():
    config = TrainConfig(steps=100, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    assert np.all(np.diff(rates[10:]) < 0)
