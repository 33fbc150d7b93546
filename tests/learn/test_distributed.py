"""Two processes that torchrun started train what one process with the whole batch trains."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from robolearn.errors import SpecError
from robolearn.learn import checkpoint, distributed

sys.path.insert(0, str(Path(__file__).parent))
import toy_distributed


def torchrun(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    program = [str(Path(__file__).with_name("toy_distributed.py")), *map(str, arguments)]
    return subprocess.run(
        [*command, *program], capture_output=True, text=True, check=False, timeout=240, env=environment
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("alone")
    toy_distributed.fit(out)
    return out


def test_two_processes_equal_one(alone, tmp_path):
    """Weights, moments and averages; process 0 alone writes checkpoints and numbers."""
    done = torchrun(tmp_path, 12)
    assert done.returncode == 0, done.stderr
    one, two = checkpoint.load(alone), checkpoint.load(tmp_path)
    assert one.step == two.step == 12
    for name, weights in one.weights().items():
        torch.testing.assert_close(two.weights()[name], weights, atol=2e-6, rtol=1e-5, msg=name)
    for name, value in one.training().items():
        torch.testing.assert_close(two.training()[name], value, atol=2e-6, rtol=1e-4, msg=name)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert (tmp_path / "processes" / "1" / "metrics.jsonl").exists()
    assert not list((tmp_path / "checkpoints").glob(".aside*"))


def test_a_batch_must_be_shared_equally(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 3)
    with pytest.raises(SpecError, match="A batch of 8 cannot be shared equally by 3 processes"):
        distributed.part(range(8))


def test_alone_nothing_changes():
    with distributed.joined() as number:
        assert (number, distributed.size()) == (0, 1)
    assert distributed.part([1, 2, 3]) == [1, 2, 3]
    assert distributed.agree(True)
    assert not distributed.agree(False)
    assert distributed.wrapped(torch.nn.Linear(1, 1)) is None  # type: ignore[arg-type]
