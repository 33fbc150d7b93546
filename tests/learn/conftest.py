import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy():
    path = Path(__file__).with_name("toy.py")
    return SimpleNamespace(path=path, **runpy.run_path(str(path), run_name="toy"))
