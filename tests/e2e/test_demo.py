"""What the demo does at the same time: another process works, and nothing of it is lost or left behind."""

import json
import os
import time

import pytest

from robolearn.errors import RobolearnError
from robolearn.verbs.demo import _beside


def test_work_beside_is_finished_when_the_block_ends(tmp_path):
    with _beside(os.mkdir, tmp_path / "a.log", tmp_path / "made"):
        pass
    assert (tmp_path / "made").is_dir()


def test_work_that_fails_fails_the_whole_and_says_where_to_look(tmp_path):
    with pytest.raises(RobolearnError, match=r"a\.log says why"), _beside(json.loads, tmp_path / "a.log", "{"):
        pass
    assert "JSONDecodeError" in (tmp_path / "a.log").read_text()


def test_when_the_block_fails_the_work_beside_is_ended_too(tmp_path):
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), _beside(time.sleep, tmp_path / "a.log", 60):
        raise ZeroDivisionError
    assert time.monotonic() - began < 30
