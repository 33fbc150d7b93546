import numpy as np
import pytest

from robolearn.episode import Outcome, Perturbation
from sim.tasks.sort_onions import SortOnionsConfig, SortOnionsExpertConfig
from sim.tasks.sort_onions_places import BIN, CONVEYOR, EYE_M, ONIONS, on_place, slots


def play(env, teacher, seeds, each=lambda step: None):
    env.reset(seeds, range(env.n))
    teacher.reset(seeds, range(env.n))
    seen, notes = [], []
    while np.any(env.outcomes() == Outcome.RUNNING):
        each(len(seen))
        seen.append(env.observe().arrays)
        decision = teacher.act(seen[-1])
        notes.append(decision["note.subtask"])
        env.act({name: decision[name] for name in env.action_spec})
    return seen, np.array(notes)


@pytest.fixture(scope="module")
def rollout():
    env = SortOnionsConfig(n=4).build()
    seen, notes = play(env, SortOnionsExpertConfig().build(env), range(40, 44))
    return env, seen, notes


def test_labels_are_shown_only_at_the_eye_and_never_leak(rollout):
    env, seen, _ = rollout
    assert "onions.blemished" not in env.observation_spec
    assert all("onions.blemished" not in arrays for arrays in seen)
    labels = np.stack([arrays["onions.label"] for arrays in seen])
    tool = np.stack([arrays["tool.position"] for arrays in seen])
    shown = np.any(labels != 0, axis=2)
    assert 0.01 < shown.mean() < 0.3
    assert np.linalg.norm(tool[shown] - EYE_M, axis=1).max() < 0.05
    assert np.all((labels != 0).sum(axis=2) <= 1)
    for row in range(env.n):
        for onion in range(5):
            told = labels[:, row, onion]
            assert len(set(told[told != 0])) == 1  # what was seen of an onion never changes


def test_every_onion_ends_where_its_label_says(rollout):
    env, seen, _ = rollout
    assert np.all(env.outcomes() == Outcome.SUCCESS)
    labels = np.stack([arrays["onions.label"] for arrays in seen])
    for row in range(env.n):
        for onion, name in enumerate(ONIONS):
            last = env.observe().arrays[f"{name}.position"][row]
            bad = labels[:, row, onion].min() < 0
            assert on_place(last, BIN if bad else CONVEYOR), (row, name)


def test_sorting_against_the_labels_costs():
    env = SortOnionsConfig(n=1, horizon=30).build()
    task, facts = env._sim_task, {"onions.blemished": np.array([[1.0, 0, 0, 0, 0]])}
    seen = dict(env._seen) | facts
    seen["onion0.position"] = np.array([[*BIN[0], 0.04]])
    right = task.reward(seen)
    wrong = task.reward(seen | {"onions.blemished": np.zeros((1, 5))})
    assert right - wrong == pytest.approx(0.32)


def test_slots_lie_in_their_place_apart():
    for place in (BIN, CONVEYOR):
        spots = slots(place)
        assert np.all(on_place(np.column_stack([spots, np.full(5, place[2, 0] + 0.03)]), place))
        gaps = np.linalg.norm(spots[:, None] - spots, axis=-1) + np.eye(5)
        assert gaps.min() > 0.06


def test_a_moved_onion_is_followed_and_a_sorted_one_is_left_alone():
    env = SortOnionsConfig(n=2).build()
    teacher = SortOnionsExpertConfig().build(env)
    events = []

    def disturb(step):
        if step in (8, 30, 60) or step == 250:
            arrays = env.observe().arrays
            for row in range(2):
                middle = np.array([0.55, 0.0]) - arrays["onion2.position"][row, :2]
                dx, dy = 0.05 * middle / max(np.linalg.norm(middle), 1e-6)
                events.append(env.apply(row, Perturbation("MOVE_OBJ", "onion2", {"dx": float(dx), "dy": float(dy)})))

    play(env, teacher, [50, 51], disturb)
    assert any(event.accepted for event in events), [event.reason for event in events]
    assert np.all(env.outcomes() == Outcome.SUCCESS)


def test_an_impossible_probability_is_refused():
    with pytest.raises(ValueError, match=r"`blemished` must lie within \[0, 1\]; found 1.5"):
        SortOnionsConfig(blemished=1.5).build()
