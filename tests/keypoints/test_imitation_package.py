"""The oracle against an independent implementation, the package `imitation` in its own environment."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from robolearn.keypoints.max_entropy import Table

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "imitation_package.py"
spec = importlib.util.spec_from_file_location("imitation_package", FILE)
assert spec is not None
assert spec.loader is not None
package = importlib.util.module_from_spec(spec)
sys.modules["imitation_package"] = package
spec.loader.exec_module(package)


@pytest.mark.skipif(
    not package.installed(),
    reason="the package imitation is not installed; run: python benchmarks/imitation_package.py --install",
)
def test_the_package_agrees(tmp_path):
    rng = np.random.default_rng(0)
    table = Table(rng.dirichlet(np.ones(6), (6, 3)), rng.dirichlet(np.ones(6)), 5)
    found = package.compare(tmp_path, table, rng.normal(size=6), 0.8)
    for name in ("policy", "value", "visits", "discounted_policy", "discounted_value"):
        assert getattr(found, name) < 1e-12, name
    assert found.demonstrations_ours < 0.01
    assert found.demonstrations_theirs < 0.01


def test_without_the_package_its_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_CACHE", str(tmp_path))
    with pytest.raises(SystemExit, match="--install"):
        package.main(package.Benchmark())
