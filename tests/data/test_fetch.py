"""A dataset is taken only with the right hash, and its absence says what to do."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from robolearn.data import fetch
from robolearn.data.fetch import DATASETS, Dataset, get
from robolearn.errors import DataFileError, UnknownName

CONTENT = b"twelve bytes"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A dataset whose archive we made, and no network."""
    archive = tmp_path / "made.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in (("pkg/a/data.hdf5", CONTENT), ("../evil", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    sha = [hashlib.sha256(data).hexdigest() for data in (archive.read_bytes(), CONTENT)]
    dataset = Dataset("pkg==1", "pkg-1.tar.gz", sha[0], "pkg/a/data.hdf5", sha[1], "a toy")
    monkeypatch.setitem(fetch.DATASETS, "toy", dataset)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return archive


def test_a_placed_archive_or_file_is_taken(tmp_path, toy):
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "pkg-1.tar.gz").write_bytes(toy.read_bytes())
    path = get("toy", folder)
    assert path == folder / "toy.hdf5"
    assert path.read_bytes() == CONTENT
    assert sorted(p.name for p in folder.iterdir()) == ["pkg-1.tar.gz", "toy.hdf5"]
    assert not (tmp_path / "evil").exists()
    toy.unlink()
    (folder / "pkg-1.tar.gz").unlink()
    assert get("toy", folder) == path  # only the hash is checked the second time
    path.write_bytes(b"else")
    with pytest.raises(DataFileError, match="The file is damaged or another"):
        get("toy", folder)


def test_a_wrong_archive_is_refused(tmp_path, toy):
    (tmp_path / "pkg-1.tar.gz").write_bytes(toy.read_bytes() + b"!")
    with pytest.raises(DataFileError, match=r"Expected SHA-256 .* of pkg-1.tar.gz"):
        get("toy", tmp_path)
    assert not (tmp_path / "toy.hdf5").exists()


def test_without_a_network_the_error_says_what_to_do(tmp_path, toy, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_DATA", str(tmp_path / "d"))
    with pytest.raises(DataFileError, match=r"Could not download toy .* On a machine with a network, run .*pkg-1") as e:
        get("toy")
    assert str(tmp_path / "d" / "pkg-1.tar.gz") in str(e.value)
    assert list((tmp_path / "d").iterdir()) == []


def test_unknown_names_list_the_known():
    with pytest.raises(UnknownName, match="Did you mean 'lift-ph'"):
        get("lift_ph")
    assert set(DATASETS) >= {"lift-ph"}
