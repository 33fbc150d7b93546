"""`robolearn data` from the outside: every command does what it says and explains a mistake in one paragraph."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from robolearn.cli import run
from robolearn.data.store import Store
from robolearn.episode import Reading

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install -e '.[lerobot]'")


@pytest.fixture
def store(tmp_path, make_episode):
    with Store.create(tmp_path / "s", durable=False) as made:
        for seed in range(3):
            made.append(make_episode(14, seed=seed, pictures=True))
    return made


def data(*words):
    return run(["data", *map(str, words)])


def test_help_lists_every_command(capsys):
    assert data("--help") == 0
    shown = capsys.readouterr().out
    for name in ("get", "import", "export", "info", "validate", "view", "edit", "stats", "serve"):
        assert re.search(rf"^  {name} ", shown, re.M), name
    assert data("exprot") == 1
    assert "Did you mean 'export'" in capsys.readouterr().err


def test_export_validate_and_import_are_one_round(tmp_path, store, capsys):
    assert data("export", "lerobot", store.path, tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "3 episodes, 42 rows written" in shown
    assert "left out: The last observation of every episode" in shown
    assert data("validate", tmp_path / "out") == 0
    assert data("import", "lerobot", tmp_path / "out", tmp_path / "back", "--episodes", 0, 2) == 0
    assert "2 episodes imported" in capsys.readouterr().out
    assert len(Store.open(tmp_path / "back")) == 2
    info = tmp_path / "out/meta/info.json"
    info.write_text(info.read_text().replace('"total_frames": 42', '"total_frames": 41'))
    assert data("validate", tmp_path / "out") == 1
    assert "wrong count (certain). total_frames is 41; the episodes have 42." in capsys.readouterr().out
    assert data("export", "lerobot", store.path, tmp_path / "out") == 1
    assert "Expected nothing or an empty folder" in capsys.readouterr().err


def test_rlds_needs_a_rate_and_comes_in(tmp_path, shared_data, capsys):
    assert data("import", "rlds", shared_data / "bridge_debug", tmp_path / "b") == 1
    assert "give --rate-hz" in capsys.readouterr().err
    assert data("import", "rlds", shared_data / "bridge_debug", tmp_path / "b", "--rate-hz", 5, "--episodes", 0, 1) == 0
    assert "2 episodes imported" in capsys.readouterr().out


def test_edits_can_be_named_by_number_and_taken_back(store, capsys):
    first, second, third = store.ids()
    assert data("edit", store.path, "tag", "1", second, "--name", "nice") == 0
    assert data("edit", store.path, "split", "all", "--name", "train") == 0
    assert data("edit", store.path, "delete", "3") == 0
    assert data("edit", store.path, "relabel", "1", "--outcome", "failure", "--instruction", "fold it") == 0
    seen = Store.open(store.path)
    assert seen.tags_of(first) == seen.tags_of(second) == {"nice"}
    assert seen.split_of(second) == "train"
    assert seen.ids() == [first, second]
    assert (seen.info(first).outcome.name, seen.info(first).instruction) == ("FAILURE", "fold it")
    assert data("edit", store.path, "undo") == data("edit", store.path, "undo") == 0
    seen.refresh()
    assert third in seen.ids()
    assert seen.info(first).outcome.name == "SUCCESS"
    capsys.readouterr()
    assert data("edit", store.path, "delete", "77") == 1
    assert "Unknown episode '77'" in capsys.readouterr().err
    assert data("edit", store.path, "delete") == 1
    assert 'needs episodes: ids, numbers or "all"' in capsys.readouterr().err
    assert data("edit", store.path, "tag", "1") == 1
    assert "needs --name" in capsys.readouterr().err


def test_every_edit_is_there_and_compact_is_final(tmp_path, store, make_episode, capsys):
    first, second, third = store.ids()
    with Store.create(tmp_path / "other", durable=False) as other:
        other.append(make_episode(4, seed=9, pictures=True))
        (theirs,) = other.ids()
        other.tag(theirs, ["b"])
    assert data("edit", store.path, "merge", tmp_path / "other") == 0
    merged = Store.open(store.path)
    assert (merged.ids(), merged.tags_of(theirs)) == ([first, second, third, theirs], {"b"})
    assert data("edit", store.path, "delete", "1") == 1
    assert "2 episodes have that number; give the whole id." in " ".join(capsys.readouterr().err.split())
    assert data("edit", store.path, "undo") == 0
    assert data("edit", store.path, "reorder", "3", "1") == 0
    assert Store.open(store.path).ids() == [third, first, second]
    assert data("edit", store.path, "tag", "2", "--name", "a") == 0
    assert data("edit", store.path, "untag", "2", "--name", "a") == 0
    assert data("edit", store.path, "undo") == 0
    assert data("edit", store.path, "rename-tag", "a", "shaky") == 0
    assert Store.open(store.path).tags_of(second) == {"shaky"}
    assert data("edit", store.path, "split", "2", "--name", "train") == 0
    assert data("edit", store.path, "rename-split", "train", "valid") == 0
    assert Store.open(store.path).split_of(second) == "valid"
    assert data("edit", store.path, "relabel", "2", "--operator", "Bob", "--robot", "ur5e", "--source", "bench") == 0
    info = Store.open(store.path).info(second)
    assert (info.operator, info.robot, info.source) == ("Bob", "ur5e", "bench")
    assert data("edit", store.path, "delete", "1", "3") == 0
    assert data("edit", store.path, "restore", "3") == 0
    assert Store.open(store.path).ids() == [third, second]
    capsys.readouterr()
    assert data("edit", store.path, "compact", "1") == 1
    assert "name none here" in capsys.readouterr().err
    assert (store.path / "episodes" / first).is_dir()
    assert data("edit", store.path, "compact") == 0
    assert re.search(r"1 deleted episodes .* 0\.\d MB given back\. It cannot be undone", capsys.readouterr().out)
    assert not (store.path / "episodes" / first).exists()
    assert Store.open(store.path).ids(include_deleted=True) == [third, second]
    assert data("edit", store.path, "undo") == 0
    assert "There is no edit to take back" in capsys.readouterr().out


def test_what_opening_recovers_is_told_once_and_is_no_success(store, make_episode, capsys):
    episode = make_episode(6, seed=4, pictures=True)
    with Store.open(store.path, durable=False) as dying:
        assert store.specs is not None
        writer = dying.record(episode.meta, *store.specs)
        for k in range(6):
            writer.observation(Reading(episode.times[k], {n: v[k] for n, v in episode.observations.items()}))
            rows = [{n: v[k] for n, v in a.items()} for a in (episode.requested, episode.actions)]
            writer.action(rows[0], rows[1], {"actor": np.array(1, np.int8)})
    assert data("validate", store.path) == 1
    assert re.search(rf"Recovered {writer.id} \(\d steps\); published none", capsys.readouterr().err)
    assert data("info", store.path) == 0
    shown = capsys.readouterr()
    assert (shown.err, "recovered         1" in shown.out) == ("", True)


def test_info_stats_and_findings_for_programs(store, capsys):
    assert data("info", store.path, "all", "--json") == 0
    assert [row["steps"] for row in json.loads(capsys.readouterr().out)] == [14, 14, 14]
    assert data("stats", store.path, "--json") == 0
    stats = json.loads(capsys.readouterr().out)
    rows = np.concatenate([store[id].actions["arm.delta"] for id in store.ids()])
    np.testing.assert_allclose(stats["action.arm.delta"]["mean"], rows.mean(axis=0))
    assert data("stats", store.path) == 0
    assert "arm.q[2]" in capsys.readouterr().out
    assert data("validate", store.path, "1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_view_saves_without_a_window(tmp_path, store, capsys):
    pytest.importorskip("rerun", reason="rerun is not installed: pip install -e '.[view]'")
    assert data("view", store.path, "2", "--save", tmp_path / "two.rrd") == 0
    assert "000002" in capsys.readouterr().out
    assert (tmp_path / "two.rrd").stat().st_size > 1000


def test_serve_runs_until_it_is_interrupted(store):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[web]'")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "robolearn.cli", "data", "serve", str(store.path), "--port", "0"]
    code = "import sys; from robolearn.cli import main; main(sys.argv[1:])"
    command[1:3] = ["-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert url is not None, line
        with urllib.request.urlopen(url[0] + "api/episodes", timeout=20) as answer:
            assert len(json.load(answer)) == 3
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors, errors
