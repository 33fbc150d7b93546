"""Jobs of the study are done once; claims pass, miss or are not measured; the report says what was found."""

import json

import numpy as np
import pytest

from robolearn.data.store import Store
from robolearn.errors import ArtefactError
from robolearn.keypoints.tracks import Tracks
from robolearn.keypoints.watching import recording_episode
from robolearn.stages.watching_claims import Claim, decide, interval
from robolearn.stages.watching_report import detection_section, execution_section, posture_section, reward_section
from robolearn.stages.watching_study import LearningJob, LearningStudy, kept, seconds


def reward(precision: float = 0.98, recall: float = 0.93, auc: float = 0.95, rank: float = 0.8) -> dict:
    good = {"precision": precision, "recall": recall, "true_return": 4.0}
    audit = {"auc": auc, "rank": rank, "starc": 0.3, "spread": 0.1}
    return {"sorting": {"learned": good, "cloned": good, "random": good | {"precision": None}}, "audit": audit}


def use(ratio: float = 0.9, five: float = 0.85) -> dict:
    return {"ratio": ratio, "noise": {"5": five, "10": 0.4}}


def posture(method: str, **numbers: float) -> dict:
    usual = {"upper_deg": 20.0, "forearm_deg": 25.0, "median_mm": 0.1, "p95_mm": 0.2, "travel_rad": 40.0}
    return {"robot": "sawyer", "method": method} | usual | numbers


PLAIN = posture("plain", upper_deg=100.0, forearm_deg=95.0, travel_rad=30.0)


def verdicts(*, rewards=None, uses=None, smooth=None, robots=None, pours=None) -> dict[str, str]:
    found = decide(
        rewards if rewards is not None else [reward(), reward()],
        uses if uses is not None else [use(), use()],
        [smooth or posture("minimal smooth"), PLAIN],
        robots if robots is not None else {"sawyer": [True] * 20, "iiwa": [True] * 20},
        pours if pours is not None else {"panda": [True] * 10},
    )
    assert [c.id for c in found] == [f"I{k}" for k in range(1, 10)]
    return {c.id: c.verdict for c in found}


def test_all_claims_can_pass():
    assert set(verdicts().values()) == {"pass"}


@pytest.mark.parametrize(
    ("id", "change"),
    [
        ("I1", {"rewards": [reward(recall=0.86), reward(recall=0.92)]}),
        ("I1", {"rewards": [reward(precision=0.5), reward()]}),
        ("I2", {"rewards": [reward(auc=0.85)]}),
        ("I2", {"rewards": [reward(rank=0.6)]}),
        ("I3", {"uses": [use(five=0.7), use(five=0.8)]}),
        ("I4", {"smooth": posture("minimal smooth", forearm_deg=31.0)}),
        ("I5", {"smooth": posture("minimal smooth", p95_mm=6.0)}),
        ("I6", {"smooth": posture("minimal smooth", travel_rad=57.0)}),
        ("I7", {"robots": {"sawyer": [True] * 20, "iiwa": [True] * 16 + [False] * 4}}),
        ("I8", {"pours": {"panda": [True, False]}}),
        ("I9", {"uses": [use(ratio=0.7)]}),
    ],
)
def test_every_claim_can_be_missed_alone(id, change):
    missed = [k for k, v in verdicts(**change).items() if v == "MISSED"]
    assert missed == [id]


def test_what_was_not_measured_never_passes():
    found = verdicts(rewards=[], uses=[], robots={}, pours={})
    assert [k for k, v in found.items() if v == "not measured"] == ["I1", "I2", "I3", "I7", "I8", "I9"]
    assert verdicts(robots={"sawyer": [True] * 20})["I7"] == "not measured"  # one of two
    assert verdicts(robots={"sawyer": [False] * 20})["I7"] == "MISSED"
    assert Claim("I1", "", "", None).row[-1] == "not measured"


def test_intervals_are_students():
    assert interval([0.9]) == "0.900 (one seed)"
    values = [0.90, 0.92, 0.94, 0.96, 0.98]  # standard deviation 0.0316, t 2.78 at four degrees of freedom
    assert interval(values) == "0.940 ± 0.039"


def test_a_job_is_done_once_and_goes_on_after_a_stop(tmp_path):
    calls: list[int] = []

    def work(out):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"answer": 42}

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "job", "test", {"a": (1, 2)}, 3, work)
    for _ in range(2):
        assert kept(tmp_path / "job", "test", {"a": (1, 2)}, 3, work)["answer"] == 42
    assert len(calls) == 2
    assert seconds(tmp_path) >= 0.0
    with pytest.raises(ArtefactError, match=r"config\.a"):
        kept(tmp_path / "job", "test", {"a": (1, 3)}, 3, work)
    with pytest.raises(ArtefactError, match="seed 3 there, 4 here"):
        kept(tmp_path / "job", "test", {"a": (1, 2)}, 4, work)


def write_recordings(folder, people: list[Tracks]) -> None:
    folder.mkdir()
    for k, tracks in enumerate(people, 1):
        assert tracks.onions is not None
        table = np.concatenate([tracks.points.reshape(len(tracks), 9), tracks.onions.reshape(len(tracks), 20)], axis=1)
        np.savetxt(folder / f"states_{k}.csv", table, delimiter=",", fmt="%.8f")


def test_a_store_of_recordings_that_was_interrupted_is_made_anew(tmp_path, scripted, monkeypatch):
    write_recordings(tmp_path / "csv", [scripted(seed) for seed in range(3)])
    study = LearningStudy(tmp_path / "out", tmp_path / "csv", (0,))
    real, begun = recording_episode, []

    def stopped_at_the_second(tracks):
        begun.append(tracks)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(tracks)

    monkeypatch.setattr("robolearn.stages.watching_study.recording_episode", stopped_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        study.read_people()
    monkeypatch.undo()
    assert len(Store.open(study.read_people())) == 3


def test_a_study_grows_by_seeds_and_reports_what_is_there(tmp_path, scripted):
    write_recordings(tmp_path / "csv", [scripted(seed) for seed in range(3)])
    one = LearningStudy(tmp_path / "out", tmp_path / "csv", (0,), (3, 2), ("airl_state", "gail"), quick=True)
    assert [str(j) for j in one.jobs] == ["airl_state_3_0", "airl_state_2_0", "gail_3_0"]
    assert one.best == []
    one.learn(one.jobs[0])
    weights = one.folder(one.jobs[0]) / "reward.safetensors"
    before = weights.stat().st_mtime_ns
    more = LearningStudy(tmp_path / "out", tmp_path / "csv", (0, 1), (3, 2), ("airl_state", "gail"), quick=True)
    assert more.best == [LearningJob("airl_state", 3, 0)]
    more.learn(more.jobs[0])
    assert weights.stat().st_mtime_ns == before
    used = more.use(more.best[0])
    assert used["ratio"] == pytest.approx(used["after"] / used["human"])
    assert set(used["noise"]) == {"0", "2", "5", "10"}
    assert more.use(more.best[0]) == used
    assert seconds(tmp_path / "out" / "rewards") > 0.0
    body = reward_section(more, [used], tmp_path).body
    for word in ("cloning", "random displacements", "Do not trust", "discount 0.8 for 1", "data:image/png"):
        assert word in body
    assert (tmp_path / "reward_map.png").stat().st_size > 10_000
    assert json.loads((one.folder(one.jobs[0]) / "result.json").read_text())["seconds"] > 0


def test_sections_say_what_was_not_done():
    assert "No robot was run" in execution_section({}, {}).body
    wins = {"wins": [True, False], "done": [1.0, 0.6], "seconds": [50.0, 120.0]}
    body = execution_section({"sawyer": wins}, {"panda": wins}).body
    assert "50.0% [" in body
    assert "sort_onions" in body
    assert "pour" in body
    numbers = {
        f"{p} {u} {k}": None for p in ("shoulder", "elbow", "wrist") for u in ("px", "m") for k in ("median", "p90")
    }
    facts = {
        "detector": "d",
        "person": "p",
        "stage": "fixed",
        "frames": 3.0,
        "found": 0.0,
        "turned": 0.0,
        "rejected": 1.0,
    }
    assert "100%" in detection_section([facts | numbers], "").body
    row = posture("plain") | {"roughness_rad": 0.1, "limited": 0.0}
    assert "UR5e" in posture_section([row], [("a", 1)], ("recording", "frames"), "").body
