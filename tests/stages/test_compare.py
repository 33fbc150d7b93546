import json
from dataclasses import asdict

import pytest

from robolearn import cli
from robolearn.episode import Outcome
from robolearn.intervals import paired_difference
from robolearn.runs import Manifest, write_json


def evaluation(folder, label, good, *, env="reach", seeds=None, settings=None):
    folder.mkdir()
    config = {"env": {"plugin": env, "n": len(good)} | (settings or {})}
    write_json(folder / "manifest.json", asdict(Manifest("evaluate", config, {}, 0, "", True)))
    outcomes = [int(Outcome.SUCCESS if g else Outcome.TIMEOUT) for g in good]
    n = len(outcomes)
    data = {"label": label, "env": env, "seeds": list(seeds or range(n)), "outcomes": outcomes, "seconds": [1.0] * n}
    (folder / "evaluation.json").write_text(json.dumps(data | {"jerk": [None] * n, "decision_ms": [], "wall_s": 1.0}))
    return str(folder)


def run(capsys, *arguments):
    code = cli.run(("compare", *arguments))
    found = capsys.readouterr()
    return code, " ".join(found.out.split()), " ".join(found.err.split())


def test_the_better_one_is_told_from_the_worse(tmp_path, capsys):
    worse = evaluation(tmp_path / "a", "teacher", [k % 2 == 0 for k in range(200)])
    better = evaluation(tmp_path / "b", "student", [k % 10 != 0 for k in range(200)])
    code, out, _ = run(capsys, worse, better)
    assert code == 0
    assert "only student succeeded on 100, only teacher on 20: better" in out
    assert "differ" not in out
    _, out, _ = run(capsys, better, worse)
    assert out.endswith("worse")


def test_starts_are_paired_by_their_seed_whatever_their_order(tmp_path, capsys):
    good = [k % 3 == 0 for k in range(90)]
    one = evaluation(tmp_path / "a", "one", good)
    same = evaluation(tmp_path / "b", "backwards", good[::-1], seeds=range(89, -1, -1))
    _, out, _ = run(capsys, one, same)
    assert "only backwards succeeded on 0, only one on 0" in out
    more = evaluation(tmp_path / "c", "more", [*good[45:], True, True], seeds=range(45, 92))
    _, out, _ = run(capsys, one, more)
    assert "on the 45 starts of both: +0.0%" in out


def test_the_same_seeds_in_another_task_are_told(tmp_path, capsys):
    one = evaluation(tmp_path / "a", "one", [True] * 20, settings={"horizon": 400})
    other = evaluation(tmp_path / "b", "one", [True] * 20, settings={"horizon": 100, "threads": 2})
    code, out, _ = run(capsys, one, other)
    assert code == 0
    assert f"{other}: 100.0%" in out  # both are called "one"
    assert "differ in their task, so their starts may too: horizon 100 here and 400 there." in out


@pytest.mark.parametrize(
    ("change", "message"),
    [({"env": "lift"}, "evaluate both in one"), ({"seeds": range(500, 510)}, "no start in common")],
)
def test_what_cannot_be_compared_is_refused(tmp_path, capsys, change, message):
    one = evaluation(tmp_path / "a", "one", [True] * 10)
    other = evaluation(tmp_path / "b", "other", [True] * 10, **change)
    code, _, err = run(capsys, one, other)
    assert code == 1
    assert message in err
    code, _, err = run(capsys, one)
    assert code == 1
    assert "Two evaluations or more" in err


def test_the_starts_that_are_said_to_decide_do(tmp_path, capsys):
    base, other = [k % 10 != 0 for k in range(500)], [k % 10 != 5 for k in range(500)]
    needed = paired_difference(other, base).starts_needed(0.02)
    assert needed == 1921  # 1.96^2 (0.1 + 0.1) / 0.02^2
    first, second = (evaluation(tmp_path / name, name, x) for name, x in (("base", base), ("other", other)))
    _, out, _ = run(capsys, first, second)
    assert "a loss of 2% is not excluded; about 1921 fresh starts would exclude it" in out
    assert paired_difference(other * 4, base * 4).low > -0.02
    assert paired_difference(other * 3, base * 3).low < -0.02


def test_a_policy_that_is_worse_by_the_margin_is_never_shown_not_to_be():
    assert paired_difference([False] * 3 + [True] * 97, [True] * 100).starts_needed(0.02) is None
    assert paired_difference([False] * 2 + [True] * 98, [True] * 100).starts_needed(0.02) is None
