"""The report's words about what a stage changed."""

import pytest

from robolearn.episode import Outcome
from robolearn.stages.evaluate import Evaluation
from robolearn.stages.improvement_report import _changes, longest_streak


def result(label: str, good: list[bool]) -> Evaluation:
    count = len(good)
    outcomes = tuple(int(Outcome.SUCCESS if g else Outcome.TIMEOUT) for g in good)
    numbers = (1.0,) * count
    return Evaluation(label, "toy", tuple(range(count)), outcomes, numbers, numbers, (1.0, 2.0), 1.0)


@pytest.mark.parametrize(
    ("good", "longest"), [("", 0), ("0", 0), ("1", 1), ("1101110", 3), ("0111", 3), ("1111", 4), ("1010", 1)]
)
def test_the_longest_streak(good, longest):
    assert longest_streak([g == "1" for g in good]) == longest


def test_a_stage_that_lowers_success_is_named():
    old = result("imitation", [True] * 450 + [False] * 50)
    worse = result("growth", [True] * 400 + [False] * 100)
    same = result("online RL", [True] * 400 + [False] * 100)
    better = result("one step", [True] * 500)
    table = _changes({r.label: r for r in (old, worse, same, better)})
    rows = [row for row in table.split("<tr>") if "minus" in row]
    assert "growth minus imitation" in rows[0]
    assert "LOWERED" in rows[0]
    assert "no loss of 2%" in rows[1]
    assert "LOWERED" not in rows[2]
    assert "<td>500</td>" in rows[2]


def test_few_starts_exclude_nothing():
    table = _changes({"a": result("a", [True] * 8), "b": result("b", [True] * 8)})
    assert "a loss of 2% is not excluded" in table
