"""The list of disturbances, one by one: each does what it says in a batch and in real time, and is recorded with its
start and its end."""

import numpy as np
import pytest

from robolearn import plugins
from robolearn.clock import FakeClock
from robolearn.data.store import Store
from robolearn.episode import Outcome, Perturbation
from robolearn.recorder import Recorder
from robolearn.rollout import rollout
from sim.bench import TwinBench
from sim.config import SimConfig
from sim.env import BatchEnv
from sim.perturbations import Budget
from sim.render import Renderer
from sim.tasks.pick_place import PickPlaceConfig, PickPlaceExpertConfig
from sim.tasks.pick_place_scene import INSTRUCTIONS
from sim.twin_world import TwinWorld

FREE = Budget(object=99, container=99, language=99, push=99, slip=99, distractor=99, gap_s=0.0)
SEED = 4
LIST = {
    "MOVE_OBJ": Perturbation("MOVE_OBJ", "kiwi", {"dx": 0.03}),
    "ROTATE_OBJ": Perturbation("ROTATE_OBJ", "kiwi", {"dyaw": 0.6}),
    "MOVE_CONT": Perturbation("MOVE_CONT", "plate", {"dx": -0.04}),
    "SET_CMD": Perturbation("SET_CMD", instruction=INSTRUCTIONS[2]),
    "HEIGHT": Perturbation("HEIGHT", "", {"z": 0.10}),
    "LIGHT": Perturbation("LIGHT", "", {"azimuth": 2.0, "intensity": 0.5, "for_s": 1.0}),
    "BACKGROUND": Perturbation("BACKGROUND", "stone", {"for_s": 1.0}),
    "DISTRACTOR": Perturbation("DISTRACTOR", "can", {"x": 0.40, "y": -0.40}),
    "PUSH_ROBOT": Perturbation("PUSH_ROBOT", "", {"fy": 40.0, "for_s": 0.3}),
    "SLIP": Perturbation("SLIP", "", {"for_s": 0.2}),
    "LATENCY": Perturbation("LATENCY", "", {"delay_s": 0.3, "for_s": 1.0}),
    "CAMERA": Perturbation("CAMERA", "agent", {"dx": 0.1, "for_s": 1.0}),
    "NOISE": Perturbation("NOISE", "kiwi.position", {"std": 0.02, "for_s": 1.0}),
    "FRICTION": Perturbation("FRICTION", "kiwi", {"scale": 0.3}),
    "MASS": Perturbation("MASS", "kiwi", {"scale": 3.0}),
}
DRAGS, STARTS, LOOKS = ("MOVE_OBJ", "ROTATE_OBJ", "MOVE_CONT"), ("HEIGHT", "FRICTION", "MASS"), ("LIGHT", "BACKGROUND")


def task():
    return PickPlaceConfig(heights_m=(0.0,), horizon=300).sim_task()


class Batch:
    """One row of a batch under a clock of control periods."""

    def __init__(self):
        self.env = BatchEnv(task(), 1, budget=FREE)
        self.env.reset([SEED], [0])
        self.apply = lambda act: self.env.apply(0, act)

    def run(self, seconds, close):
        action = {"arm.delta": np.zeros((1, 6)), "gripper.command": np.array([[1.0 if close else -1.0]])}
        for _ in range(round(seconds * 20)):
            self.env.act(action)

    def seen(self):
        return {name: value[0] for name, value in self.env.observe().arrays.items()}

    def picture(self):
        return self.env.picture("agent", 48, 36)[0]

    def shown(self):
        env = self.env
        return env.renderer.segmentation(env.world.seen, "agent", 96, 72, dress=env.perturbations.dress)[0]

    def mocap(self, name):
        item = int(self.env.model.body(name).mocapid[0])
        return self.env.world.inputs["mocap_pos"][0, -1, 3 * item : 3 * item + 3]

    now = property(lambda self: float(self.env.world.seen[0, 0]))
    model = property(lambda self: self.env.world.own_model(0))
    close = property(lambda self: self.env.close)


class RealTime:
    """The same scene on a clock."""

    def __init__(self):
        self.clock = FakeClock(10.0)
        self.bench = TwinBench(task(), self.clock, cameras=(), budget=FREE)
        self.bench.reset([SEED], [0])
        self.apply = lambda act: self.bench.apply(0, act)
        self._renderer = None

    def run(self, seconds, close):
        action = {"arm.delta": np.zeros((1, 6)), "gripper.command": np.array([[1.0 if close else -1.0]])}
        for _ in range(round(seconds * 20)):
            self.bench.act(action)
            self.clock.advance(0.05)

    def seen(self):
        return {name: value[0] for name, value in self.bench.observe().arrays.items()}

    def picture(self):
        return self._drawn("rgb", 48, 36)

    def shown(self):
        return self._drawn("segmentation", 96, 72)

    def mocap(self, name):
        return self.bench.world.data.body(name).xpos

    def _drawn(self, kind, width, height):
        world: TwinWorld = self.bench.world
        self._renderer = self._renderer or Renderer(world.model)
        draw = getattr(self._renderer, kind)
        return draw(world.state()[None], "agent", width, height, dress=world.perturbations.dress)[0]

    def close(self):
        if self._renderer is not None:
            self._renderer.close()
        self.bench.close()

    now = property(lambda self: self.clock.now())
    model = property(lambda self: self.bench.world.model)


def turned(one, other):
    return 2 * np.arccos(np.clip(np.abs((one * other).sum()), 0, 1))


def changed(one, other):
    return np.abs(one.astype(int) - other).mean()


def effect(kind, host):
    """Do an act, check what it did while it lasted, and return its event."""
    act, plain = LIST[kind], host.model
    masses, frictions = plain.body_mass.copy(), plain.geom_friction.copy()
    if kind in ("SLIP", "LATENCY"):
        host.run(1.0, close=True)
    elif kind not in STARTS:
        host.run(0.1, close=False)
    before, view = host.seen(), host.picture() if kind in (*LOOKS, "CAMERA") else None
    event = host.apply(act)
    assert event.accepted, event.reason
    target = f"{act.target}.position"
    if kind in DRAGS:
        host.run(event.end - event.time + 0.2, close=False)
        after = host.seen()
        moved = (after[target] - before[target])[:2]
        np.testing.assert_allclose(moved, [act.params.get("dx", 0.0), 0.0], atol=0.012)
        turn = turned(after[f"{act.target}.quaternion"], before[f"{act.target}.quaternion"])
        assert turn == pytest.approx(act.params.get("dyaw", 0.0), abs=0.15)
    elif kind == "SET_CMD":
        host.run(0.05, close=False)
        assert host.seen()["task.command"].argmax() == 2 != before["task.command"].argmax()
    elif kind == "HEIGHT":
        rise = host.seen()["table.place"][0] - before["table.place"][0]
        assert rise == pytest.approx(0.10, abs=1e-3)
        assert host.seen()["kiwi.position"][2] - before["kiwi.position"][2] == pytest.approx(0.10, abs=5e-3)
    elif kind in (*LOOKS, "CAMERA"):
        assert changed(host.picture(), view) > 2.0
        host.run(1.2, close=False)
        assert changed(host.picture(), view) < 1.0
    elif kind == "DISTRACTOR":
        can = plain.body("can").id
        assert not np.any(host.shown() == can)
        host.run(event.end - event.time + 0.1, close=False)
        assert np.sum(host.shown() == can) > 10
        np.testing.assert_allclose(host.mocap("can"), [act.params["x"], act.params["y"], 0.0], atol=1e-3)
    elif kind == "PUSH_ROBOT":
        host.run(0.25, close=False)
        assert np.abs(host.seen()["tool.position"] - before["tool.position"]).max() > 0.003
        host.run(1.5, close=False)
        rest = host.seen()["tool.position"]
        host.run(0.25, close=False)
        assert np.abs(host.seen()["tool.position"] - rest).max() < 0.002
    elif kind == "SLIP":
        host.run(0.25, close=True)
        assert host.seen()["gripper.width"][0] > before["gripper.width"][0] + 0.01
    elif kind == "LATENCY":
        host.run(0.25, close=False)
        assert host.seen()["gripper.width"][0] < before["gripper.width"][0] + 0.002
        host.run(0.5, close=False)
        assert host.seen()["gripper.width"][0] > before["gripper.width"][0] + 0.03
    elif kind == "NOISE":
        draws = []
        for _ in range(8):
            host.run(0.05, close=False)
            draws.append(host.seen()["kiwi.position"])
        assert np.std(draws, axis=0).min() > 0.005
        host.run(1.0, close=False)
        assert np.abs(host.seen()["kiwi.position"] - before["kiwi.position"]).max() < 2e-3
    elif kind == "FRICTION":
        geom = plain.body("kiwi").geomadr[0]
        assert host.model.geom_friction[geom, 0] == pytest.approx(0.3 * frictions[geom, 0])
    else:
        body = plain.body("kiwi").id
        assert host.model.body_mass[body] == pytest.approx(3.0 * masses[body])
    return event


@pytest.mark.parametrize("kind", LIST)
@pytest.mark.parametrize("host", [Batch, RealTime])
def test_every_act_does_what_it_says_in_a_batch_and_in_real_time(kind, host):
    made = host()
    event = effect(kind, made)
    assert event.kind == kind
    assert made.now >= event.time
    lasts = {"HEIGHT": 0.0, "FRICTION": 0.0, "MASS": 0.0, "SET_CMD": 0.0, "PUSH_ROBOT": 0.3, "SLIP": 0.2}
    lasts |= {"DISTRACTOR": 0.8, "NOISE": 1.0, "CAMERA": 1.0, "LATENCY": 1.0, "LIGHT": 1.0, "BACKGROUND": 1.0}
    if kind in lasts:
        assert event.end - event.time == pytest.approx(lasts[kind])
    else:
        assert 0.1 < event.end - event.time < 1.0
    made.close()


def test_the_list_is_complete():
    env = BatchEnv(task(), 1)
    assert set(env.acts) == set(LIST)
    env.close()


class Everything:
    """An adversary that proposes the whole list, one act every quarter of a second, in every row."""

    def __init__(self, kinds):
        self._kinds = kinds

    def reset(self, seeds, rows):
        self._ticks = 0

    def propose(self, reading):
        tick, self._ticks = self._ticks, self._ticks + 1
        if tick % 5 or tick // 5 >= len(self._kinds):
            return []
        return [(row, LIST[self._kinds[tick // 5]]) for row in range(len(reading.time))]


def check_events(events, kinds):
    assert [event.kind for event in events] == kinds
    refused = [event for event in events if not event.accepted]
    assert all(event.reason for event in refused)
    assert {event.kind for event in events if event.accepted} >= set(kinds) - {"SLIP", "MOVE_OBJ", "MOVE_CONT"}
    for event in events:
        assert event.end >= event.time
        if event.accepted and event.kind not in (*STARTS, "SET_CMD"):
            assert event.end > event.time, event.kind
    times = [event.time for event in events]
    np.testing.assert_allclose(np.diff(times), 0.25, atol=0.02)


def test_all_acts_are_recorded_with_start_and_end_in_a_batch(tmp_path):
    kinds = [*STARTS[:1], *(kind for kind in LIST if kind not in STARTS)]
    env = BatchEnv(task(), 1, budget=FREE)
    with Store.open_or_create(tmp_path / "store") as store:
        recorder = Recorder(store, operator="expert", bench="simulation")
        with recorder:
            teacher = PickPlaceExpertConfig().build(env)
            rollout(env, teacher, seeds=[SEED], adversary=Everything(kinds), observers=[recorder])
        check_events(store[recorder.kept[0]].events, kinds)
    env.close()


def test_all_acts_are_recorded_with_start_and_end_in_real_time(tmp_path):
    kinds = [*STARTS[:1], *(kind for kind in LIST if kind not in STARTS)]
    clock = FakeClock(10.0)
    bench = TwinBench(task(), clock, cameras=(), budget=FREE, longest_s=8.0)
    with Store.open_or_create(tmp_path / "store") as store:
        recorder = Recorder(store, operator="expert", bench="twin")
        with recorder:
            teacher = PickPlaceExpertConfig().build(bench)
            rollout(
                bench,
                teacher,
                seeds=[SEED],
                rate_hz=20.0,
                clock=clock,
                adversary=Everything(kinds),
                observers=[recorder],
            )
        check_events([e for e in store[recorder.kept[0]].events if e.source != "gate"], kinds)
    bench.close()


TASKS = [
    name
    for name in plugins.names("env")
    if hasattr(cls := plugins.load("env", name), "sim_task") and name not in ("reach", "unscrew")
]


@pytest.mark.parametrize("name", TASKS)
def test_whatever_stands_by_itself_can_be_turned_where_it_stands(name):
    """Also beside a container: what turns in place needs no new place."""
    config = plugins.load("env", name)
    assert issubclass(config, SimConfig)
    env = BatchEnv(config(robot=config.robots[0]).sim_task(), 12, budget=FREE)
    env.reset(range(12), range(12))
    for target in env.acts["ROTATE_OBJ"].targets:
        for row in range(12):
            event = env.apply(row, Perturbation("ROTATE_OBJ", target, {"dyaw": 0.3}))
            assert event.accepted, (target, row, event.reason)
    env.close()


def test_beside_a_container_a_fruit_turns_and_is_not_moved_into_it():
    env = BatchEnv(task(), 1, budget=FREE)
    env.reset([SEED], [0])
    joint = {name: env.model.joint(name).qposadr[0] for name in ("kiwi", "basket")}
    positions = env.world.state[0, 1 : 1 + env.model.nq].copy()
    radius = env.perturbations.objects._radius
    near = radius["kiwi"] + radius["basket"] + 0.002
    basket, kiwi = joint["basket"], joint["kiwi"]
    positions[kiwi], positions[kiwi + 1] = positions[basket], positions[basket + 1] - near
    env._restart(0, positions)
    before = env.observe().arrays
    towards = env.apply(0, Perturbation("MOVE_OBJ", "kiwi", {"dy": 0.02}))
    assert towards.reason == "the basket is in the way"
    assert env.apply(0, Perturbation("ROTATE_OBJ", "kiwi", {"dyaw": 0.5})).accepted
    for _ in range(20):
        env.act({"arm.delta": np.zeros((1, 6)), "gripper.command": -np.ones((1, 1))})
    after = env.observe().arrays
    assert turned(after["kiwi.quaternion"][0], before["kiwi.quaternion"][0]) == pytest.approx(0.5, abs=0.1)
    assert np.linalg.norm(after["basket.position"] - before["basket.position"]) < 2e-3
    assert env.outcomes()[0] == Outcome.RUNNING
    assert not any(env.world.warnings().values())
    env.close()
