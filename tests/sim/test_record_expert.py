"""Styles and quality of scripted demonstrations from the command line."""

import numpy as np
import pytest

from robolearn import cli
from robolearn.data.store import Store


def record(folder, *arguments):
    command = ["record", "--store", str(folder), "--task", "reach", "--operator", "expert", "--episodes", "4"]
    return cli.run([*command, *arguments])


@pytest.fixture
def episodes(tmp_path):
    def made(*arguments):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        assert record(folder, *arguments) == 0
        with Store.open(folder) as store:
            return list(store)

    return made


def test_a_style_is_chosen_by_flags_and_remembered(episodes):
    plain = episodes()
    slow = episodes("--operator.speed-m-s", "0.1", "0.12")
    assert np.mean([len(e.times) for e in slow]) > 1.3 * np.mean([len(e.times) for e in plain])
    assert "operator_config" not in plain[0].meta.extra
    assert slow[0].meta.extra["operator_config"]["speed_m_s"] == [0.1, 0.12]


def test_a_quality_is_chosen_by_flags_and_noted_at_every_step(episodes):
    bad = episodes("--operator.quality", "0.3", "0.4", "--operator.flaws.surrender", "0.0", "--keep", "all")
    for episode in bad:
        quality = episode.notes["quality"]
        assert np.all((quality >= 0.3) & (quality <= 0.4))
    assert len({float(episode.notes["quality"][0]) for episode in bad}) == 4
    assert all("quality" not in episode.notes for episode in episodes())


def test_mistakes_are_answered_without_a_traceback(tmp_path, capsys):
    assert record(tmp_path / "a", "--operator.quality", "0.9", "0.1") == 1
    assert "the lower first; found (0.9, 0.1)" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        record(tmp_path / "b", "--operator.speed", "0.1")
    assert "--operator.speed-m-s" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.run(["record", "--help"])
    assert "--operator.quality" in capsys.readouterr().out
