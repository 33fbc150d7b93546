"""Every recipe's quick version runs as a user starts it (`make recipes`, which CI runs beside the tests)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [path for path in sorted((ROOT / "launch").glob("*.py")) if "quick: bool" in path.read_text()]


@pytest.mark.slow
@pytest.mark.recipe
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_quick_version_runs_and_is_not_done_twice(recipe, tmp_path):
    command = [sys.executable, "-m", "robolearn.cli", "run", str(recipe), "--quick", "--out", str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert first.returncode == 0, first.stderr
    assert "Report:" in first.stdout
    second = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    assert "step" not in second.stderr
    assert (tmp_path / "report.html").exists()
