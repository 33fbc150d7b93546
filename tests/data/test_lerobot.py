"""LeRobot datasets out and in: every number in its place, nothing half written, what is absent is said."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import av
import numpy as np
import pytest

from robolearn.data import lerobot_columns
from robolearn.data.lerobot_check import check_lerobot
from robolearn.data.lerobot_export import export_lerobot
from robolearn.data.lerobot_import import import_lerobot
from robolearn.data.lerobot_source import LeRobotSource
from robolearn.data.store import Store
from robolearn.episode import Event, Outcome
from robolearn.errors import DataFileError, EmptyStore, StorageFull, UnknownName
from robolearn.specs import ArraySpec

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install -e '.[lerobot]'")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install -e '.[lerobot]'")


@pytest.fixture
def store(tmp_path, make_episode):
    with Store.create(tmp_path / "store", durable=False) as made:
        for k, outcome in enumerate((Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT)):
            made.append(make_episode(6 + 3 * k, seed=k, pictures=True, outcome=outcome))
        yield made


def test_there_and_back_keeps_every_number_of_every_row(tmp_path, store):
    done = export_lerobot(store, tmp_path / "out")
    assert (done.episodes, done.frames) == (3, 27)
    assert done.left_out == ("The last observation of every episode: LeRobot keeps one observation per action.",)
    assert check_lerobot(tmp_path / "out") == []
    with Store.create(tmp_path / "back", durable=False) as back:
        result = import_lerobot(tmp_path / "out", back)
        assert result.absent == ()
        assert back.specs is not None
        assert store.specs is not None
        assert dict(back.specs[0]) == dict(store.specs[0])
        assert dict(back.specs[1]) == dict(store.specs[1])
        for mine, theirs in zip(store.ids(), result.ids, strict=True):
            a, b = store[mine], back[theirs]
            assert b.steps == a.steps - 1
            for name, value in b.observations.items():
                if name != "wrist.rgb":
                    np.testing.assert_allclose(value, a.observations[name][:-1], rtol=1e-6)
            for name in a.actions:
                np.testing.assert_allclose(b.actions[name], a.actions[name][:-1], rtol=1e-6)
                np.testing.assert_allclose(b.requested[name], a.requested[name][:-1], rtol=1e-6)
            np.testing.assert_array_equal(b.actor, a.actor[:-1])
            np.testing.assert_allclose(b.times, a.times[:-1], atol=1e-9)
            np.testing.assert_array_equal(b.notes["value"], a.notes["value"][:-1])
            assert b.notes["subtask"].tolist() == a.notes["subtask"][:-1].tolist()
            assert (b.outcome, b.meta.seed, b.meta.operator, b.meta.instruction) == (
                a.outcome,
                a.meta.seed,
                a.meta.operator,
                a.meta.instruction,
            )
            assert b.events == a.events


def test_a_change_of_the_instruction_is_a_task_per_row(tmp_path, make_episode):
    base = make_episode(8)
    change = Event("SET_CMD", base.times[3], base.times[3], "human", params={"instruction": "put it down"})
    with Store.create(tmp_path / "s", durable=False) as store:
        store.append(dataclasses.replace(base, events=(change,)))
        export_lerobot(store, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    assert rows["task_index"].to_pylist() == [0] * 3 + [1] * 5
    tasks = pq.read_table(tmp_path / "out/meta/tasks.parquet").to_pylist()
    assert tasks == [{"task_index": 0, "task": "lift the cube"}, {"task_index": 1, "task": "put it down"}]


def test_every_picture_is_at_its_exact_time_with_a_key_frame_every_second_one(tmp_path, store):
    export_lerobot(store, tmp_path / "out")
    for number, id in enumerate(store.ids()):
        path = tmp_path / f"out/videos/observation.images.wrist/chunk-000/file-{number:03d}.mp4"
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        assert [frame.time for frame in frames] == pytest.approx(
            [k / 20 for k in range(store.info(id).steps)], abs=1e-9
        )
        assert all(frame.key_frame for frame in frames[::2])


def test_one_row_group_per_episode_and_true_statistics(tmp_path, store):
    export_lerobot(store, tmp_path / "out")
    file = pq.ParquetFile(tmp_path / "out/data/chunk-000/file-000.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [6, 9, 12]
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    actions = np.concatenate(
        [np.concatenate([v.reshape(e.steps, -1) for v in e.actions.values()], axis=1) for e in store]
    ).astype(np.float32)
    np.testing.assert_allclose(stats["action"]["q90"], np.quantile(actions.astype(float), 0.9, axis=0))
    pixels = np.concatenate([e.observations["wrist.rgb"][:-1] for e in store]).reshape(-1, 3) / 255
    np.testing.assert_allclose(np.ravel(stats["observation.images.wrist"]["q10"]), np.quantile(pixels, 0.1, axis=0))
    np.testing.assert_allclose(np.ravel(stats["observation.images.wrist"]["std"]), pixels.std(axis=0))


def test_a_failed_export_leaves_nothing(tmp_path, store, monkeypatch):
    def full(self, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robolearn.data.lerobot_export._Writer._meta", full)
    with pytest.raises(StorageFull, match="Nothing of the export was kept"):
        export_lerobot(store, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_refusals_say_what_to_do(tmp_path, store, make_episode):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(DataFileError, match=r"Expected nothing or an empty folder .* Choose another"):
        export_lerobot(store, tmp_path / "full")
    with pytest.raises(UnknownName, match="Did you mean 'sent'"):
        export_lerobot(store, tmp_path / "out", action="sen")
    odd = make_episode(4)
    odd = dataclasses.replace(odd, meta=dataclasses.replace(odd.meta, rate_hz=12.5))
    with Store.create(tmp_path / "odd", durable=False) as other:
        with pytest.raises(EmptyStore, match="Nothing to export"):
            export_lerobot(other, tmp_path / "out")
        other.append(odd)
        with pytest.raises(DataFileError, match=r"one whole number of rows per second; the episodes have \[12.5\]"):
            export_lerobot(other, tmp_path / "out")
    with pytest.raises(DataFileError, match=r"there is no info\.json"):
        import_lerobot(tmp_path / "full", store)


def test_foreign_data_of_version_2_1_comes_in_as_far_as_it_is_there(tmp_path, shared_data):
    root = shared_data / "g1_v21"
    with Store.create(tmp_path / "s", durable=False) as store:
        done = import_lerobot(root, store, episodes=[9, 10, 13])
        assert "1 of 3 episodes have no data file: 9." in done.absent
        assert len(done.ids) == 2
        one = store[done.ids[0]]
        rows = pq.read_table(root / "data/chunk-000/episode_000010.parquet")
        np.testing.assert_array_equal(one.observations["robot.state"], np.array(rows["observation.state"].to_pylist()))
        np.testing.assert_array_equal(one.actions["robot.command"], np.array(rows["action"].to_pylist())[:-1])
        np.testing.assert_allclose(one.times, np.arange(290) / 30, rtol=0, atol=1e-9)
        spec = one.observation_spec["robot.state"]
        assert (spec.names[0], spec.dtype) == ("kLeftShoulderPitch", "float32")
        assert one.meta.instruction == "Pick up the yellow bottle on the table."
        assert one.observations["cam_high.rgb"].shape == (290, 480, 640, 3)
        with av.open(str(root / "videos/chunk-000/observation.images.cam_high/episode_000010.mp4")) as container:
            for k, frame in enumerate(container.decode(video=0)):
                if k % 60 == 7:
                    truth = frame.to_ndarray(format="rgb24").astype(float)
                    assert np.abs(one.observations["cam_high.rgb"][k] - truth).mean() < 3


def test_foreign_data_of_version_2_0_with_wrong_metadata(tmp_path, shared_data):
    with Store.create(tmp_path / "s", durable=False) as store:
        done = import_lerobot(shared_data / "gr00t_v20", store)
        said = "\n".join(done.absent)
        assert "3 of 5 episodes have no data file: 1, 2, 3." in said
        assert "observation.images.egoview: no video of any of the 2 episodes; the camera is left out." in said
        assert "'data/chunk-{episode_index:03d}/episode_{episode_index:06d}.parquet' of meta/info.json leads" in said
        assert [store.info(id).steps for id in done.ids] == [415, 327]
        one = store[done.ids[1]]
        assert one.meta.instruction == "pick the cupcake from the counter and place it in the plate"
        assert one.observations["ego_view.rgb"].shape == (328, 256, 256, 3)
        assert one.times[0] == pytest.approx(0.05, abs=1e-6)  # as recorded, not as k / fps
        assert set(one.notes) >= {"reward", "next.done", "annotation.human.validity"}


def test_videos_that_are_absent_or_too_short(tmp_path, store):
    export_lerobot(store, tmp_path / "out")
    videos = tmp_path / "out/videos/observation.images.wrist/chunk-000"
    shutil.copy(videos / "file-000.mp4", videos / "file-002.mp4")  # 6 pictures for 12 rows
    with Store.create(tmp_path / "short", durable=False) as back:
        done = import_lerobot(tmp_path / "out", back)
        assert done.absent == ("Episode 2: wrist.rgb has pictures of 6 of 12 rows; cut there.",)
        assert [back.info(id).steps for id in done.ids] == [5, 8, 5]
    (videos / "file-001.mp4").unlink()
    with Store.create(tmp_path / "one", durable=False) as back:
        done = import_lerobot(tmp_path / "out", back)
        assert "observation.images.wrist: no video of episodes 1; these episodes are left out." in done.absent[0]
        assert len(done.ids) == 2
    (videos / "file-000.mp4").unlink()
    with Store.create(tmp_path / "most", durable=False) as back:
        done = import_lerobot(tmp_path / "out", back)
        assert "no video of episodes 0, 1; the camera is left out" in done.absent[0]
        assert len(done.ids) == 3
        assert back.specs is not None
        assert "wrist.rgb" not in back.specs[0]


def rewrite(path, change):
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def without(name):
    return lambda table: table.drop_columns([name])


def with_column(name, get):
    def change(table):
        values = get(table[name].to_pylist())
        field = table.schema.field(name)
        return table.set_column(table.column_names.index(name), field, pa.array(values, field.type))

    return change


DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.wrist/chunk-000/file-001.mp4"


def edit_json(name, key, value):
    def change(root):
        facts = json.loads((root / name).read_text())
        facts[key] = value
        (root / name).write_text(json.dumps(facts))

    return change


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (edit_json("meta/info.json", "total_frames", 9), "wrong count", "total_frames is 9; the episodes have 27"),
        (edit_json("meta/info.json", "total_tasks", 3), "wrong count", "total_tasks is 3; there are 1"),
        (edit_json("meta/stats.json", "action", {"min": [1], "max": [0]}), "breaks LeRobot v3.0", "min <= q01"),
        (lambda root: rewrite(root / DATA, without("actor")), "absent column", r"\['actor'\] are absent"),
        (lambda root: (root / VIDEO).unlink(), "absent video", "missing or cannot be read"),
        (
            lambda root: (root / DATA).write_bytes((root / DATA).read_bytes()[:-9]),
            "damaged",
            "missing or cannot be read",
        ),
        (
            lambda root: shutil.copy(root / VIDEO.replace("001", "000"), root / VIDEO),
            "wrong count",
            "Expected 9 pictures up to its end; found 6",
        ),
        (
            lambda root: rewrite(root / DATA, with_column("index", lambda v: [*v[:5], 99, *v[6:]])),
            "breaks LeRobot v3.0",
            "index must count up without gaps",
        ),
        (
            lambda root: rewrite(root / DATA, with_column("task_index", lambda v: [7] * len(v))),
            "breaks LeRobot v3.0",
            "task_index must be below 1",
        ),
        (
            lambda root: rewrite(root / DATA, with_column("timestamp", lambda v: [t + 0.01 for t in v])),
            "breaks LeRobot v3.0",
            "timestamp must be frame_index / fps",
        ),
        (
            lambda root: rewrite(root / EPISODES, with_column("length", lambda v: [n + 1 for n in v])),
            "breaks LeRobot v3.0",
            "differs from length",
        ),
        (
            lambda root: rewrite(root / DATA, with_column("action", lambda v: [[float("nan")] * len(v[0]), *v[1:]])),
            "not finite",
            "NaN or infinity",
        ),
        (
            lambda root: rewrite(root / DATA, with_column("action", lambda v: [v[0]] * len(v))),
            "constant action",
            "All 27 actions are equal",
        ),
    ],
)
def test_each_broken_invariant_is_found(tmp_path, store, fault, kind, message):
    export_lerobot(store, tmp_path / "out")
    fault(tmp_path / "out")
    found = check_lerobot(tmp_path / "out")
    assert found, "the fault must be found"
    assert kind in [f.kind for f in found]
    assert any(f.kind == kind and re.search(message, f.message) for f in found), list(map(str, found))
    assert all(f.cure and f.where for f in found)


def test_a_depth_video_is_not_taken_for_colour(tmp_path, store):
    export_lerobot(store, tmp_path / "out")
    info = tmp_path / "out/meta/info.json"
    info.write_text(info.read_text().replace('"video.is_depth_map": false', '"video.is_depth_map": true'))
    with Store.create(tmp_path / "s", durable=False) as back:
        done = import_lerobot(tmp_path / "out", back)
        assert done.absent == ("observation.images.wrist: a depth video, which is not colour; the camera is left out.",)
        assert back.specs is not None
        assert "wrist.rgb" not in back.specs[0]


def with_depth(episode, seed=0, size=(12, 17)):
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 1 << 16, (episode.steps + 1, *size)).astype(np.uint16)
    spec = {**episode.observation_spec, "wrist.depth": ArraySpec(size, "uint16", unit="mm", frame="wrist")}
    return dataclasses.replace(
        episode, observation_spec=spec, observations={**episode.observations, "wrist.depth": maps}
    )


@pytest.mark.parametrize("offsets", [None, 500])
def test_depth_goes_out_and_comes_back_with_every_bit(tmp_path, make_episode, monkeypatch, offsets):
    if offsets:  # as if the maps were so many that one piece cannot count them
        monkeypatch.setattr(lerobot_columns, "_MOST_OFFSETS", offsets)
    with Store.create(tmp_path / "s", durable=False) as store:
        for k in range(2):
            store.append(with_depth(make_episode(5 + k, seed=k, pictures=True), seed=k))
    done = export_lerobot(store, tmp_path / "out")
    assert [line for line in done.left_out if "depth" in line] == []
    assert check_lerobot(tmp_path / "out") == []
    feature = json.loads((tmp_path / "out/meta/info.json").read_text())["features"]["depth.wrist"]
    assert feature == {"dtype": "uint16", "shape": [12, 17], "names": ["height", "width"]}
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())["depth.wrist"]
    pixels = np.concatenate([episode.observations["wrist.depth"][:-1].ravel() for episode in store])
    assert (stats["min"], stats["max"]) == ([pixels.min()], [pixels.max()])
    np.testing.assert_allclose(stats["q10"], np.quantile(pixels, 0.1))
    np.testing.assert_allclose([stats["mean"][0], stats["std"][0]], [pixels.mean(), pixels.std()])
    with Store.create(tmp_path / "back", durable=False) as back:
        result = import_lerobot(tmp_path / "out", back)
        assert back.specs is not None
        assert store.specs is not None
        assert (result.absent, dict(back.specs[0])) == ((), dict(store.specs[0]))
        for mine, theirs in zip(store.ids(), result.ids, strict=True):
            want = store[mine].observations["wrist.depth"][:-1]
            np.testing.assert_array_equal(back[theirs].observations["wrist.depth"], want)
    (tmp_path / "out/meta/robolearn.json").unlink()  # as if others had written it
    with Store.create(tmp_path / "foreign", durable=False) as back:
        result = import_lerobot(tmp_path / "out", back)
        assert back.specs is not None
        assert back.specs[0]["wrist.depth"] == ArraySpec((12, 17), "uint16")
        np.testing.assert_array_equal(back[result.ids[1]].observations["wrist.depth"], want)

    def smaller(table):
        maps = pa.array([[[1, 2]]] * len(table), pa.list_(pa.list_(pa.uint16())))
        return table.set_column(table.column_names.index("depth.wrist"), "depth.wrist", maps)

    rewrite(tmp_path / "out" / DATA, smaller)
    assert [f.kind for f in check_lerobot(tmp_path / "out")] == ["mismatched dims"]


def test_importing_says_that_columns_are_absent(tmp_path, store):
    export_lerobot(store, tmp_path / "out")
    (tmp_path / "out/meta/robolearn.json").unlink()  # as if others had written it
    for name in ("actor", "task_index", "frame_index"):
        rewrite(tmp_path / "out" / DATA, without(name))
    with Store.create(tmp_path / "s", durable=False) as back:
        done = import_lerobot(tmp_path / "out", back)
        assert "The column 'actor' is declared but absent." in done.absent
        assert "Episode 1: no column 'task_index'; the metadata's first task is its instruction." in done.absent
        assert back[done.ids[1]].meta.instruction == "lift the cube"
        assert back[done.ids[1]].observations["robot.state"].shape[0] == 9
    rewrite(tmp_path / "out" / DATA, without("action"))
    with Store.create(tmp_path / "none", durable=False) as back:
        with pytest.raises(DataFileError, match=r"Nothing of .* can be imported.*has no column 'action'"):
            import_lerobot(tmp_path / "out", back)
        assert len(back.ids(include_deleted=True)) == 0
    with pytest.raises(UnknownName, match="episode index '9'"), Store.create(tmp_path / "x", durable=False) as back:
        import_lerobot(tmp_path / "out", back, episodes=[9])
    assert LeRobotSource.open(tmp_path / "out").version == "v3.0"
