import re
from pathlib import Path

import pytest

BENCHES = Path(__file__).resolve().parents[2] / "launch" / "benches"


@pytest.fixture
def patient_bench(tmp_path):
    """A bench file for real time on a machine that is busy with other things: only times differ, and the horizon."""

    def make(name: str, horizon: int) -> Path:
        text = (BENCHES / f"{name}.toml").read_text()
        text = re.sub(r"^stale_s = \{.*\}", lambda m: re.sub(r" = [\d.]+", " = 1.5", m[0]), text, flags=re.MULTILINE)
        text = text.replace("lost_s = 1.0", "lost_s = 5.0").replace("horizon = 100", f"horizon = {horizon}")
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return path

    return make
