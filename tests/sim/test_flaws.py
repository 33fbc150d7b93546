import numpy as np
import pytest

from robolearn import plugins
from robolearn.episode import Outcome
from robolearn.errors import SpecError
from sim.flaws import Flawed, Flaws, TeacherConfig
from sim.tasks.lift import LiftConfig, LiftExpertConfig

NAMES = plugins.names("expert")


def play(config, n, seeds):
    env = LiftConfig(n=n).build()
    teacher = config.build(env)
    env.reset(seeds, range(n))
    teacher.reset(seeds, range(n))
    actions = []
    while np.any(env.outcomes() == Outcome.RUNNING):
        decision = teacher.act(env.observe().arrays)
        actions.append(decision)
        env.act({name: decision[name] for name in env.action_spec})
    return actions, env.outcomes()


@pytest.mark.parametrize("name", NAMES)
def test_every_teacher_can_be_told_a_quality(name):
    config = plugins.load("expert", name)
    assert issubclass(config, TeacherConfig)
    assert config().quality == (1.0, 1.0)


def test_worse_quality_succeeds_less_and_leaves_a_note():
    rates, n = [], 24
    for quality in (1.0, 0.5, 0.0):
        actions, outcomes = play(LiftExpertConfig(quality=(quality, quality)), n, range(n))
        rates.append(np.mean(outcomes == Outcome.SUCCESS))
        if quality == 1.0:
            assert all("note.quality" not in action for action in actions)
        else:
            assert all(np.all(action["note.quality"] == quality) for action in actions)
    assert rates[0] >= 0.95
    assert rates[0] > rates[1] > rates[2]
    assert 0.0 < rates[2] < 0.7


def test_a_row_of_best_quality_is_untouched_beside_bad_ones():
    teacher = TeacherConfig(quality=(0.0, 1.0))
    flawed = Flawed(teacher, 3, 0.05)
    for row in range(3):
        flawed.reset(row, row)
    flawed.quality[1] = 1.0
    flawed._end[1] = np.iinfo(np.int64).max
    move, turn, closed = np.full((3, 3), 0.01), np.full((3, 3), 0.02), np.ones(3)
    for _ in range(200):
        spoiled = flawed.spoil(move, turn, closed)
        for before, after in zip((move, turn, closed), spoiled, strict=True):
            assert np.array_equal(before[1], after[1])
            assert not np.shares_memory(before, after)


def test_flaws_of_a_row_depend_on_its_seed_alone():
    config = TeacherConfig(quality=(0.2, 0.8))
    move, turn, closed = np.zeros((4, 3)), np.zeros((4, 3)), np.ones(4)
    many, one = Flawed(config, 4, 0.05), Flawed(config, 1, 0.05)
    for row in range(4):
        many.reset(row, 10 + row)
    one.reset(0, 12)
    for _ in range(150):
        together, alone = many.spoil(move, turn, closed), one.spoil(move[:1], turn[:1], closed[:1])
        for a, b in zip(together, alone, strict=True):
            assert np.array_equal(a[2], b[0])


def test_each_flaw_is_what_it_says():
    config = TeacherConfig(
        (0.0, 0.0), Flaws(tremor=0.0, hesitations_hz=1.0, fumbles_hz=0.0, surrender=1.0, surrender_s=4.0)
    )
    n = 64
    flawed = Flawed(config, n, 0.05)
    for row in range(n):
        flawed.reset(row, row)
    moves = np.stack([flawed.spoil(np.ones((n, 3)) * 0.01, np.zeros((n, 3)), np.ones(n))[0][:, 0] for _ in range(100)])
    assert set(np.unique(moves)) == {0.0, 0.01}
    assert np.all(moves[81:] == 0.0)  # everybody has given up after 4 s
    assert 0.1 < np.mean(moves[:10] > 0) < 1.0
    steady = Flawed(TeacherConfig((0.0, 0.0), Flaws(0.0, 0.0, fumbles_hz=2.0, surrender=0.0)), n, 0.05)
    for row in range(n):
        steady.reset(row, row)
    grips = np.stack([steady.spoil(np.zeros((n, 3)), np.zeros((n, 3)), np.ones(n))[2] for _ in range(100)])
    assert set(np.unique(grips)) == {-1.0, 1.0}
    assert 0.1 < np.mean(grips < 0) < 0.6


def test_a_range_that_is_none_is_refused():
    for quality in ((0.8, 0.2), (0.0, 1.5), (float("nan"), 1.0)):
        with pytest.raises(SpecError, match="`quality` is a range of numbers from 0"):
            LiftExpertConfig(quality=quality).build(LiftConfig().build())
