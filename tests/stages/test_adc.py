"""The machinery of the study: verdicts on made-up results, cells measured with the teacher, arms that differ."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from robolearn import plugins
from robolearn.data.store import Store
from robolearn.errors import EmptyStore, RobolearnError
from robolearn.observers import Memory
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import read_manifest
from robolearn.stages.adc_arms import ARMS, HELD_OUT, Collect, Shaken, prefix
from robolearn.stages.adc_cells import CELLS, DYNAMIC, MeasureCells, Result, read_results
from robolearn.stages.adc_claims import LANGUAGE, NORMAL, RECOVERY, VARIED, VARIED_HELD, VISUAL, Measured, claims
from robolearn.stages.adc_study import QUICK, STATE, Job, Study

N = 40


def made(rates, *, recovered=1.0, share=100, arm="A", seed=0):
    """Results with given success rates per cell."""
    found = []
    for cell, rate in rates.items():
        for k in range(N):
            good = k < round(rate * N)
            at = 1.0 if CELLS[cell].act else math.nan
            found.append(Result(cell, k, good, good, at, good and k < recovered * N, 5.0))
    return {Job(arm, seed, share): found}


def everything(rate, **special):
    return dict.fromkeys((*NORMAL, *VARIED, *VARIED_HELD, "off", *VISUAL, *LANGUAGE, *RECOVERY), rate) | special


def verdicts(*results, per_1000=None):
    per_1000 = per_1000 or {"A": 300.0, "R": 200.0, "T": 100.0}
    collected = {(arm, 0): {"per_1000": value, "person_seconds": 100.0} for arm, value in per_1000.items()}
    return {one.id: one for one in claims(Measured({k: v for one in results for k, v in one.items()}, collected))}


def test_nothing_measured_is_not_run():
    found = verdicts(per_1000={"A": 1.0})
    assert set(found) == {f"A{k}" for k in range(1, 13)}
    assert {one.verdict for one in found.values()} == {"not run"}


def test_a_clear_win_passes_and_a_tie_fails():
    a = made(everything(1.0, during=0.6))
    r = made(everything(0.9) | dict.fromkeys((*VISUAL, *LANGUAGE), 0.4) | dict.fromkeys(RECOVERY, 0.2), arm="R")
    t = made(everything(0.1), arm="T")
    fifth = made(dict.fromkeys((*VARIED, *VISUAL), 0.5), share=20)
    rand = made(everything(0.3), arm="A-rand")
    won = verdicts(a, r, t, fifth, rand)
    for id in ("A1", "A2", "A3", "A4", "A5", "A6", "A8", "A9", "A10"):
        assert won[id].verdict == "passed", won[id]
    assert won["A7"].verdict == "not run"
    assert won["A11"].found.endswith("it matters")
    assert "100 % A" in won["A12"].found
    same = verdicts(a, made(everything(1.0, during=0.6), arm="R"), made(everything(1.0), arm="T"))
    for id in ("A1", "A2", "A6", "A9"):
        assert same[id].verdict == "failed", same[id]


@pytest.mark.parametrize(
    ("id", "broken"),
    [
        ("A3", dict.fromkeys((*NORMAL, *VARIED), 0.5)),
        ("A4", {"object": 0.5, "container": 0.5}),
        ("A5", {"during": 0.4}),
        ("A5", {"before": 0.55, "during": 0.6}),
        ("A6", dict.fromkeys(VARIED_HELD, 0.6)),
    ],
)
def test_each_mark_can_be_missed(id, broken):
    r = made(everything(0.8) | dict.fromkeys(VARIED_HELD, 0.4), arm="R")
    good = verdicts(made(everything(0.9, during=0.7)), r)
    assert good[id].verdict == "passed"
    assert verdicts(made(everything(0.9, during=0.7) | broken), r)[id].verdict == "failed"


def test_density_must_rank():
    assert verdicts(per_1000={"A": 1.0, "R": 2.0, "T": 0.5})["A10"].verdict == "failed"


def test_differences_pair_the_same_seed_and_start():
    a, r = made({"object": 1.0}), made({"object": 0.5}, arm="R")
    r |= made({"object": 0.0}, arm="R", seed=1)  # a training seed that A does not have
    found = Measured({**a, **r}, {}).difference("A", "R", ("object",))
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.only_a == N // 2


def test_cells_are_measured_from_paired_starts_of_their_kind(tmp_path):
    names = ("varied.h0.seen", "varied.h2.held", "off", "object", "after", "slip")
    MeasureCells("", names, 0, 2, 200).run(tmp_path / "a")
    found = {name: [one for one in read_results(tmp_path / "a") if one.cell == name] for name in names}
    assert all(len(many) == 2 for many in found.values())
    assert all(one.placed and one.picked for many in found.values() for one in many)
    for name in ("object", "after", "slip"):
        assert sorted(one.seed for one in found[name]) == sorted(one.seed for one in found["off"])
        assert any(not math.isnan(one.done_at) for one in found[name])
    assert all(math.isnan(one.done_at) for one in found["off"])
    env = plugins.from_dict("env", {"plugin": "pick_place", "n": 2}).build()
    env.reset([one.seed for one in found["varied.h2.held"]], [0, 1])
    seen = env.observe().arrays
    np.testing.assert_allclose(seen["table.place"], 0.12)
    told = env.observation_spec["task.command"].names[int(np.argmax(seen["task.command"][0]))]
    assert told in HELD_OUT
    # The next block goes on where this one ended, with the same first starts.
    MeasureCells("", ("off",), 1, 2, 200).run(tmp_path / "b")
    first = sorted(one.seed for one in found["off"])
    assert len(set(first) & {one.seed for one in read_results(tmp_path / "b")}) == 1


def test_every_disturbed_cell_has_a_twin_and_every_policy_the_same_cells():
    assert {cell.act for cell in CELLS.values() if cell.act} == set(DYNAMIC)
    assert {cell.starts for cell in CELLS.values() if cell.act} == {"varied"}
    assert not any(CELLS[name].dark for name in STATE.cells)
    assert len(STATE.cells) == 12 + 1 + len(DYNAMIC)


def test_arms_collect_what_they_say(tmp_path):
    for arm in ("T", "A"):
        Collect(arm, 150, 0).run(tmp_path / arm)
    narrow, wide = (Store.open(tmp_path / arm / "store") for arm in ("T", "A"))
    for store in (narrow, wide):
        told = {
            event.params["instruction"] for id in store.ids() for event in store[id].events if event.kind == "SET_CMD"
        }
        assert not told & set(HELD_OUT)
        first = [store[id].observations["task.command"][0] for id in store.ids()]
        assert store.specs is not None
        names = store.specs[0]["task.command"].names
        assert not {names[int(np.argmax(one))] for one in first} & set(HELD_OUT)
        assert sum(store.info(id).steps for id in prefix(store, 100)) >= 100
    assert not any(store_events(narrow))
    assert any(store_events(wide))
    assert {float(narrow[id].observations["table.place"][0, 0]) for id in narrow.ids()} == {0.0}
    with pytest.raises(EmptyStore, match="Expected 100000 frames"):
        prefix(narrow, 100_000)


def store_events(store):
    return [event for id in store.ids() for event in store[id].events]


def test_a_shaken_arm_differs_between_asked_and_done_alone():
    env = plugins.from_dict("env", {"plugin": "pick_place", "n": 2, "horizon": 20}).build()
    expert = plugins.load("expert", "pick_place")().build(env)
    kept = []
    for rows in (2, 1):
        one = plugins.from_dict("env", {"plugin": "pick_place", "n": rows, "horizon": 20}).build()
        memory = Memory()
        teacher = plugins.load("expert", "pick_place")().build(one)
        rollout(Shaken(one, np.array([0.008] * 3 + [0.04] * 3)), teacher, seeds=episode_seeds(2, 1), observers=[memory])
        kept.append(memory.episodes)
    for seed, episode in kept[0].items():
        gap = episode.actions["arm.delta"] - episode.requested["arm.delta"]
        assert 0.003 < gap[:, :3].std() < 0.012
        assert np.array_equal(episode.actions["gripper.command"], episode.requested["gripper.command"])
        np.testing.assert_array_equal(episode.actions["arm.delta"], kept[1][seed].actions["arm.delta"])
    assert expert.subtasks


def test_jobs_have_names_and_orders():
    assert Job.read(str(Job("A-rand", 3, 50))) == Job("A-rand", 3, 50)
    with pytest.raises(RobolearnError, match=r"Expected a job ARM:SEED:SHARE with an arm of T, R, V"):
        Job.read("Z:0:100")
    study = Study(Path("unused"), QUICK, ("A", "T"), (0, 1))
    assert len(study.jobs) == 4 + 4
    assert study.jobs[0] == Job("A", 0)
    assert {arm for arm in ARMS} >= {"T", "R", "V", "L", "A", "A-rand", "D", "A-learn"}


def test_an_interrupted_collection_starts_over(tmp_path):
    """Going on would draw starts twice; the finished one is left alone."""

    def starts():
        store = Store.open(tmp_path / "a" / "store")
        return [store[id].meta.seed for id in store.ids()]

    stage = Collect("T", 60, 1)
    stage.run(tmp_path / "a")
    first, manifest = starts(), tmp_path / "a" / "manifest.json"
    assert len(set(first)) == len(first)
    manifest.write_text(manifest.read_text().replace('"finished": true', '"finished": false'))
    stage.run(tmp_path / "a")
    found = read_manifest(tmp_path / "a")
    assert found is not None
    assert found.finished
    assert starts() == first
    ids = Store.open(tmp_path / "a" / "store").ids()
    stage.run(tmp_path / "a")
    assert Store.open(tmp_path / "a" / "store").ids() == ids


def test_a_study_starts_every_job_once_and_names_the_ones_that_failed(tmp_path):
    """Stand-in workers write their name; the one of arm T fails, and the rest is done all the same."""
    code = "import sys, pathlib; pathlib.Path(sys.argv[1], sys.argv[2].replace(':', '-')).touch(exist_ok=False); "
    code += "sys.exit(sys.argv[2].startswith('T'))"
    (tmp_path / "done").mkdir()
    study, said = Study(tmp_path, QUICK, ("A", "R", "T"), (0, 1), (50,)), []
    with pytest.raises(RobolearnError, match=r"These jobs failed: T:[01]:100, T:[01]:100"):
        study.run([sys.executable, "-c", code, str(tmp_path / "done")], 3, said.append)
    assert {path.name.replace("-", ":") for path in (tmp_path / "done").iterdir()} == set(map(str, study.jobs))
    assert sum("FAILED" in text for text in said) == 2
