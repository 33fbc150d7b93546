"""Adversaries against the real scene: same seed same acts, rows on their own, budgets and guards never broken."""

import collections
import itertools
import json

import numpy as np
import pytest

from robolearn import plugins
from robolearn.episode import Outcome, Perturbation, Reading
from robolearn.errors import DataFileError, SpecError, UnknownName
from robolearn.rollout import episode_seeds, rollout
from robolearn.scene.view import read_scene, view

NAMES = ("rule", "random", "learned")
FAST = {"random": {"object_hz": 1.0, "container_hz": 0.7, "language_hz": 0.7}, "learned": {"learn": False}}


def pick_place(n, **fields):
    return plugins.from_dict("env", {"plugin": "pick_place", "n": n, **fields}).build()


def adversary(name, env, **fields):
    return plugins.from_dict("adversary", {"plugin": name, **FAST.get(name, {}), **fields}).build(env)


class Events:
    """Keeps every event with its seed."""

    def __init__(self):
        self.found = collections.defaultdict(list)
        self._seed = {}

    def begin(self, env, rows, seeds):
        self._seed.update(zip(rows, seeds, strict=True))

    def step(self, tick):
        for row, event in tick.events:
            self.found[self._seed[row]].append(event)

    def end(self, rows, outcomes, reading):
        pass


def disturbed(name, n, seeds, horizon=90, **fields):
    env = pick_place(n, horizon=horizon)
    expert = plugins.load("expert", "pick_place")().build(env)
    watch = Events()
    rollout(env, expert, seeds=seeds, adversary=adversary(name, env, **fields), observers=[watch])
    return dict(watch.found)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_acts_in_any_row_beside_anybody(name):
    """Four episodes in three rows and in two: every event of every episode is the same."""
    seeds = episode_seeds(4, 3)
    three, two = disturbed(name, 3, seeds), disturbed(name, 2, seeds)
    assert three == two
    assert sum(event.accepted for events in three.values() for event in events) >= 3
    assert {event.source for events in three.values() for event in events} == {name}
    assert disturbed(name, 2, episode_seeds(2, 4), 30) != three


@pytest.mark.parametrize("name", ["lift", "sort_onions", "reach"])
@pytest.mark.parametrize("who", NAMES)
def test_every_adversary_works_where_there_is_something_to_disturb(who, name):
    """A task without commands or containers gets what is left; one with nothing to move is refused by name."""
    env = plugins.from_dict("env", {"plugin": name, "n": 2, "horizon": 30}).build()
    expert = plugins.load("expert", name)().build(env)
    if name == "reach":
        with pytest.raises(SpecError, match="at least one thing"):
            adversary(who, env)
        return
    watch = Events()
    rollout(env, expert, seeds=[1, 2], adversary=adversary(who, env), observers=[watch])
    kinds = {event.kind for events in watch.found.values() for event in events}
    assert kinds <= set(env.acts)


def test_ten_thousand_random_acts_break_no_budget_and_no_guard():
    """What is accepted keeps its budget, its pause, the table and the distance to other things."""
    n, asked = 10, 0
    env = pick_place(n, horizon=10_000)
    scene = read_scene(env.observation_spec)
    random = np.random.default_rng(0)
    kinds = ("MOVE_OBJ", "ROTATE_OBJ", "MOVE_CONT", "SET_CMD", "SLIP", "PUSH_ROBOT", "DISTRACTOR")
    still = {"arm.delta": np.zeros((n, 6)), "gripper.command": -np.ones((n, 1))}
    spent = [collections.Counter() for _ in range(n)]
    last = np.full(n, -np.inf)
    accepted = refused = 0
    for tick in range(10):
        if tick == 5:  # new episodes, new budgets
            env.reset(range(100, 100 + n), range(n))
            spent, last = [collections.Counter() for _ in range(n)], np.full(n, -np.inf)
        arrays = env.observe().arrays
        for row in range(n):
            for _ in range(100):
                kind = str(random.choice(kinds))
                act = env.acts[kind]
                target = str(random.choice(act.targets)) if act.targets else ""
                params = {}
                for name, (low, high, _) in act.params.items():
                    low, high = max(low, -0.4), min(high, 0.7)
                    params[name] = float(random.uniform(low, max(low, high)))
                text = str(random.choice(scene.commands)) if kind == "SET_CMD" else ""
                event = env.apply(row, Perturbation(kind, target, params, text))
                asked += 1
                if not event.accepted:
                    refused += 1
                    assert event.reason
                    continue
                accepted += 1
                spent[row][act.budget] += 1
                assert spent[row][act.budget] <= env.limits[act.budget], (kind, dict(spent[row]))
                assert event.time - last[row] >= env.gap_s - 1e-9 or event.time == 0.0
                last[row] = event.time
                if kind in ("MOVE_OBJ", "MOVE_CONT"):
                    goal = arrays[f"{target}.position"][row, :2] + np.array([params["dx"], params["dy"]])
                    assert 0.30 < np.hypot(*goal) < 0.72
                    others = [arrays[f"{name}.position"][row, :2] for name in scene.things if name != target]
                    assert np.linalg.norm(np.array(others) - goal, axis=1).min() > 0.05
        for _ in range(12 if tick % 2 else 25):
            env.act(still)
    assert asked == 10_000
    assert accepted > 60
    assert refused > 5000


@pytest.mark.parametrize("name", NAMES)
def test_what_an_adversary_brings_about_stays_within_its_budget(name):
    env = pick_place(1)
    limits, kinds = env.limits, env.acts
    for events in disturbed(name, 4, episode_seeds(4, 11), horizon=120).values():
        done = [event for event in events if event.accepted]
        count = collections.Counter(kinds[event.kind].budget for event in done)
        assert all(count[heading] <= limits[heading] for heading in count)
        times = [event.time for event in done]
        assert all(b - a >= env.gap_s - 1e-9 for a, b in itertools.pairwise(times) if a > 0)


def test_the_rule_acts_at_its_triggers_and_says_why():
    events = [e for many in disturbed("rule", 8, episode_seeds(8, 5), 120).values() for e in many if e.accepted]
    for event in events:
        trigger, distance = event.params["trigger"], event.params["tool_distance"]
        if trigger == "V2":
            assert event.kind == "MOVE_OBJ"
            assert distance < 0.15
        elif trigger == "V1":
            assert distance >= 0.15
            assert event.time >= 1.5
        elif trigger == "V3":
            assert event.kind == "MOVE_CONT"
        else:
            assert trigger == "L1"
            assert event.kind == "SET_CMD"
    assert {"V2", "V3", "L1"} <= {event.params["trigger"] for event in events}


def test_halves_of_the_rule_and_held_back_commands():
    seeds = episode_seeds(4, 5)
    visual = [e.kind for many in disturbed("rule", 4, seeds, language=False).values() for e in many]
    assert visual
    assert "SET_CMD" not in visual
    kept = ("Put the orange into the plate.", "Put the peach into the basket.")
    told = disturbed("rule", 4, seeds, visual=False, commands=kept, told_early=1.0, told_after=1.0)
    texts = {e.params["instruction"] for many in told.values() for e in many}
    assert texts
    assert texts <= set(kept)
    with pytest.raises(UnknownName, match="Did you mean 'Put the kiwi into the plate"):
        adversary("rule", pick_place(1), commands=("Put the kiwi into a plate.",))


def test_random_times_are_poisson_and_do_not_look():
    """With everything allowed the first act of a kind comes after an exponential time of its rate."""
    env = pick_place(300, horizon=400)
    chosen = adversary("random", env, object_hz=0.0, container_hz=0.0, language_hz=0.5)
    chosen.reset(range(300), range(300))
    reading = env.observe()
    first = np.full(300, np.nan)
    for tick in range(200):
        for row, act in chosen.propose(Reading(np.full(300, tick / 20), reading.arrays)):
            assert act.kind == "SET_CMD"
            if np.isnan(first[row]):
                first[row] = tick / 20
    assert np.nanmedian(first) == pytest.approx(np.log(2) / 0.5, abs=0.35)
    assert np.isfinite(first).mean() == pytest.approx(1 - np.exp(-5), abs=0.03)


def test_the_bandit_learns_which_act_pays(tmp_path):
    """Where only new commands bring new situations, it comes to give commands."""
    env = pick_place(1)
    who = adversary("learned", env, learn=True, spread=0.1)
    who.counts[:], who.sums[:] = 20, 0.0
    arrays = env.observe().arrays
    moment = int(view(read_scene(env.observation_spec), arrays).moment[0])
    who.sums[moment, who.acts.index("SET_CMD")] = 20 * 0.8
    kinds = collections.Counter()
    for seed in range(30):
        who.reset([seed], [0])
        kinds.update(act.kind for _, act in who.propose(Reading(np.array([0.0]), arrays)))
    assert kinds["SET_CMD"] >= 27
    assert who.counts.sum() > 20 * who.counts.size  # it went on learning
    who.write(tmp_path / "table.json")
    again = adversary("learned", env, table=str(tmp_path / "table.json"))
    np.testing.assert_array_equal(again.sums, who.sums)
    (tmp_path / "table.json").write_text(json.dumps({"acts": ["WAIT"], "sums": [[0]], "counts": [[0]]}))
    with pytest.raises(DataFileError, match="this scene offers WAIT, MOVE_OBJ"):
        adversary("learned", env, table=str(tmp_path / "table.json"))


def test_rewards_of_the_bandit_are_new_situations_or_failures():
    env = pick_place(1)
    arrays = env.observe().arrays
    who = adversary("learned", env, learn=True)
    for _ in range(2):  # the same frame twice: all new, then nothing new
        who.reset([0], [0])
        who.propose(Reading(np.array([0.0]), arrays))
    who.reset([0], [0])
    assert who.sums.sum() == pytest.approx(1.0)
    assert who.counts.sum() == 2
    regret = adversary("learned", env, learn=True, reward="regret", expert_rate=0.9)
    for reward in (1.0, 0.2):
        regret.reset([0], [0])
        regret.propose(Reading(np.array([0.0]), {**arrays, "task.reward": np.array([[reward]])}))
    regret.reset([0], [0])
    assert regret.sums.sum() == pytest.approx(-0.1 + 0.9)


@pytest.mark.parametrize("act", ["object", "container", "before", "during", "after", "slip", "pull", "push"])
def test_a_probe_disturbs_once_at_its_moment(act):
    found = disturbed("probe", 4, episode_seeds(4, 21), 100, act=act)
    done = [[e for e in events if e.accepted] for events in found.values()]
    assert max(map(len, done)) == 1
    assert sum(map(len, done)) >= 1
    moments = {"container": "after", "before": "before", "during": "during", "after": "after", "slip": "after"}
    for (event,) in (one for one in done if one):
        if act in ("before", "during", "after", "slip"):
            assert event.params["phase"] == moments[act]
        if act in ("object", "pull"):
            assert event.params["tool_distance"] < 0.15


def test_an_environment_that_says_nothing_of_disturbances_is_refused(point_env):
    with pytest.raises(SpecError, match="does not say how it can be disturbed"):
        adversary("rule", point_env())


def test_slips_come_without_a_scene_that_is_told_anything():
    """A task without commands can be disturbed too: the fingers open, and the teacher takes the cap again."""
    env = plugins.from_dict("env", {"plugin": "unscrew", "n": 4}).build()
    expert = plugins.load("expert", "unscrew")().build(env)
    chosen = adversary("random", env, object_hz=0.0, slip_hz=0.2)
    watch = Events()
    done = rollout(env, expert, seeds=episode_seeds(8, 5), adversary=chosen, observers=[watch])
    slips = [event for events in watch.found.values() for event in events]
    assert {event.kind for event in slips} == {"SLIP"}
    assert 4 <= sum(event.accepted for event in slips) <= 16
    assert all(summary.outcome is Outcome.SUCCESS for summary in done)
