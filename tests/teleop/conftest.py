"""Lets tests here share `people`, which is no package."""

import importlib.util
import sys
from pathlib import Path

import pytest

from robolearn.data.store import Store

spec = importlib.util.spec_from_file_location("people", Path(__file__).with_name("people.py"))
assert spec is not None
assert spec.loader is not None
sys.modules["people"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["people"])


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "s", durable=False) as made:
        yield made
