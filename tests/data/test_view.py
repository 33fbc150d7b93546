"""An episode becomes a rerun recording that rerun itself reads back."""

from __future__ import annotations

import numpy as np
import pytest

from robolearn.data.store import Store
from robolearn.data.view import view_episode
from robolearn.errors import DataFileError, MissingDependency, UnknownName


@pytest.fixture
def store(tmp_path, make_episode):
    with Store.create(tmp_path / "s", durable=False) as made:
        made.append(make_episode(20, pictures=True))
        yield made


def test_every_number_is_in_the_recording(tmp_path, store):
    pytest.importorskip("rerun", reason="rerun is not installed: pip install -e '.[view]'")
    dataframe = pytest.importorskip("rerun.dataframe")
    path = view_episode(store, store.ids()[0], tmp_path / "one.rrd")
    assert path == tmp_path / "one.rrd"
    recording = dataframe.load_recording(str(path))
    table = recording.view(index="time", contents="/observed/arm/q").select().read_all()
    episode = store[store.ids()[0]]
    column = next(name for name in table.column_names if name.endswith(("Scalar", "Scalars:scalars", ":scalars")))
    np.testing.assert_allclose(np.array(table[column].to_pylist()), episode.observations["arm.q"])
    entities = {str(c.entity_path) for c in recording.schema().component_columns()}
    assert {"/cameras/wrist.rgb", "/sent/arm/delta", "/requested/arm/delta", "/events", "/actor"} <= entities
    with pytest.raises(DataFileError, match="Expected nothing at"):
        view_episode(store, store.ids()[0], path)
    with pytest.raises(UnknownName, match="Unknown episode 'nosuch'"):
        view_episode(store, "nosuch", tmp_path / "two.rrd")


def test_every_stream_keeps_its_own_rate(tmp_path, live):
    dataframe = pytest.importorskip("rerun.dataframe", reason="rerun is not installed: pip install -e '.[view]'")
    recording = dataframe.load_recording(str(view_episode(live, live.ids()[0], tmp_path / "live.rrd")))

    def rows(path):
        return recording.view(index="time", contents=path).select().read_all().num_rows

    counts = {path: rows(path) for path in ("/observed/arm/q", "/sent/arm/dq", "/cameras/wrist.rgb")}
    assert counts == {"/observed/arm/q": 601, "/sent/arm/dq": 30, "/cameras/wrist.rgb": 86}
    assert rows("/cameras/wrist.depth") == 86


def test_without_rerun_it_says_what_to_install(tmp_path, store, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    with pytest.raises(MissingDependency, match=r"robolearn data view needs the package 'rerun-sdk'"):
        view_episode(store, store.ids()[0], tmp_path / "one.rrd")
