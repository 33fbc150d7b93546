from pathlib import Path

import numpy as np
import pytest

from robolearn import plugins
from robolearn.bench.file import read_bench
from robolearn.bench.live import Reporting, open_bench, require_tool
from robolearn.bench.mounted import Mounted
from robolearn.clock import FakeClock, Rate
from robolearn.data.store import Store
from robolearn.episode import Actor, Outcome
from robolearn.errors import BenchError, SafetyFault, UnknownName
from robolearn.specs import check
from robolearn.verbs.deploy import recording, run
from robolearn.verbs.policies import Chosen
from sim.devices import TwinRobotConfig
from sim.twin_world import TwinWorldConfig

BENCHES = Path(__file__).resolve().parents[2] / "launch" / "benches"


@pytest.fixture
def clock():
    return FakeClock(50.0)


@pytest.fixture
def panda():
    return read_bench(BENCHES / "panda_twin.toml")


def expert(live):
    return plugins.load("expert", live.file.task.name)().build(live.env)


def test_a_policy_made_for_the_simulated_task_does_it_on_the_bench(panda, clock):
    with open_bench(panda, clock, paced=False) as live:
        done = run(live, expert(live), range(4), clock)
    assert [one.outcome for one in done].count(Outcome.SUCCESS) >= 3
    assert not live.gate.fault


def test_observations_and_actions_are_those_of_the_simulated_task(panda, clock):
    env = plugins.load("env", "lift")(n=1).build()
    try:
        with open_bench(panda, clock, paced=False) as live:
            for name, spec in live.env.observation_spec.items():
                assert env.observation_spec[name] == spec
            assert dict(live.env.action_spec) == dict(env.action_spec)
            live.env.reset([3], [0])
            env.reset([3], [0])
            for name, value in live.env.observe().arrays.items():
                np.testing.assert_allclose(value, env.observe().arrays[name], atol=1e-6)
    finally:
        env.close()


def test_a_watch_over_a_stream_that_no_device_gives_is_refused(clock, tmp_path):
    """It would be waited for: the gate would hold the arm still, for ever and without a word."""
    text = (BENCHES / "panda_twin.toml").read_text()
    assert '"cube.position" = 0.2' in text
    path = tmp_path / "panda_twin.toml"
    path.write_text(text.replace('"cube.position" = 0.2', '"cube_position" = 0.2'))
    with (
        pytest.raises(UnknownName, match=r"stale_s 'cube_position'. Did you mean 'cube.position'"),
        open_bench(read_bench(path), clock, paced=False),
    ):
        pass


def _led(env, let_pass, steps=30):
    """Where a fixed sequence of displacements brings the tool (steps, 3), from its start."""
    k = np.arange(steps)
    deltas = np.stack([0.02 * np.sin(k / 4), np.full(steps, 0.015), -0.01 * np.cos(k / 5), *np.zeros((3, steps))], 1)
    deltas[10:14] = 0.0  # it stands in between
    places = []
    for delta in deltas:
        places.append(env.observe().arrays["tool.position"][0])
        let_pass(lambda: env.act({"arm.delta": delta[None], "gripper.command": np.full((1, 1), -1.0)}))  # noqa: B023
    return np.array(places) - places[0]


@pytest.mark.parametrize(("thinks_s", "off_m"), [(0.0, 0.004), (0.02, 0.010), (0.04, 0.015)])
def test_the_arm_moves_as_in_the_simulation_however_long_the_policy_thinks(panda, clock, thinks_s, off_m):
    """Displacements count from where the arm is when they begin to act; counted from where it was seen, it lags."""
    env = plugins.load("env", "lift")(n=1).build()
    env.reset([3], [0])
    wanted = _led(env, lambda act: act())
    env.close()
    with open_bench(panda, clock) as live:
        live.env.reset([3], [0])
        rate = Rate(panda.task.rate_hz, clock)

        def decide(act):
            clock.sleep_until(clock.now() + thinks_s)
            act()
            rate.wait()

        still = {"arm.delta": np.zeros((1, 6)), "gripper.command": np.full((1, 1), -1.0)}
        for _ in range(14):  # past the ramp after engaging
            live.env.observe()
            decide(lambda: live.env.act(still))
        found = _led(live.env, decide)
    assert np.sqrt(np.square(found - wanted).sum(1).mean()) < off_m
    way, wanted_way = (np.linalg.norm(np.diff(places, axis=0), axis=1).sum() for places in (found, wanted))
    assert way == pytest.approx(wanted_way, rel=0.06)


def test_nothing_of_the_last_scene_is_left_in_the_next(panda, clock):
    """The gripper is open again, and motion capture sees the new cube, however soon somebody looks."""
    with open_bench(panda, clock) as live:
        live.env.reset([0], [0])
        live.env.observe()
        for _ in range(20):
            live.env.act({"arm.delta": np.zeros((1, 6)), "gripper.command": np.ones((1, 1))})
            clock.sleep_until(clock.now() + 0.05)
            before = live.env.observe().arrays
        assert before["gripper.width"][0, 0] < 0.01
        live.env.reset([3], [0])
        first = live.env.observe().arrays
        clock.sleep_until(clock.now() + 0.3)
        later = live.env.observe().arrays
    np.testing.assert_allclose(later["gripper.width"], 0.08, atol=2e-3)
    np.testing.assert_allclose(first["cube.position"], later["cube.position"], atol=2e-3)
    assert np.abs(first["cube.position"] - before["cube.position"]).max() > 0.01


def test_what_was_sent_is_the_displacement_that_the_joints_will_make(panda, clock):
    with open_bench(panda, clock, paced=False) as live:
        live.env.reset([0], [0])
        live.env.observe()
        first = live.env.act({"arm.delta": np.full((1, 6), 0.03), "gripper.command": np.full((1, 1), -1.0)})
        assert np.abs(first["arm.delta"]).max() < 1e-6  # engaging: the arm is told to stay where it is
        clock.advance(0.05)
        for _ in range(12):  # past the ramp after engaging
            before = live.env.observe().arrays
            sent = live.env.act({"arm.delta": np.full((1, 6), 0.0), "gripper.command": np.full((1, 1), -1.0)})
            clock.advance(0.05)
        before = live.env.observe().arrays
        asked = {"arm.delta": np.array([[0.01, 0.0, -0.005, 0.0, 0.0, 0.05]]), "gripper.command": np.full((1, 1), -1.0)}
        for _ in range(20):
            live.env.observe()
            sent = live.env.act(asked)
            check(sent, live.env.action_spec, lead=(1,))
            clock.advance(0.05)
        moved = live.env.observe().arrays["tool.position"] - before["tool.position"]
        assert moved[0, 0] > 0.05
        assert moved[0, 2] < -0.02
        assert sent["arm.delta"][0, 0] == pytest.approx(0.01, abs=0.006)


def test_a_command_that_is_not_finite_ends_the_run_with_a_fault_and_holds(panda, clock):
    class Bad:
        observation_spec = {}

        def __init__(self, env):
            self.action_spec, self.asked = env.action_spec, 0

        def reset(self, seeds, rows):
            self.asked = 0

        def act(self, observation):
            self.asked += 1
            delta = np.full((1, 6), 0.01 if self.asked < 5 else np.nan)
            return {"arm.delta": delta, "gripper.command": np.zeros((1, 1))}

    with open_bench(panda, clock, paced=False) as live:
        policy = Bad(live.env)
        with pytest.raises(SafetyFault, match="must be finite"):
            run(live, policy, [1, 2], clock)
        assert policy.asked == 5  # nothing was asked after it, and no second episode was begun
        clock.advance(1.0)
        q = live.gate.read().arrays["arm.q"]
        clock.advance(5.0)
        np.testing.assert_allclose(live.gate.read().arrays["arm.q"], q, atol=1e-3)


def test_the_arm_stops_before_anything_else_ends(panda, clock, tmp_path):
    order = []

    class Interrupted:
        observation_spec = {}

        def __init__(self, env):
            self.action_spec, self.k = env.action_spec, 0

        def reset(self, seeds, rows):
            pass

        def act(self, observation):
            self.k += 1
            if self.k > 6:
                order.clear()  # it also stops when an episode begins
                raise KeyboardInterrupt
            return {"arm.delta": np.full((1, 6), 0.02), "gripper.command": np.zeros((1, 1))}

    with open_bench(panda, clock, paced=False) as live:
        robot_stop = live.gate._robot.stop
        live.gate._robot.stop = lambda: order.append("stop") or robot_stop()
        store = Store.create(tmp_path / "store")
        session = recording(store, live, Chosen(Interrupted(live.env), "p", ""), clock, lambda review: review.proposed)
        with session, pytest.raises(KeyboardInterrupt):
            run(live, Interrupted(live.env), [0], clock, [session])
        order.append("sealed")
    assert order.index("stop") < order.index("sealed")
    with Store.open(tmp_path / "store") as store:
        (id,) = store.ids()
        assert store[id].outcome is Outcome.ABORTED
        assert store[id].steps >= 4


def test_an_episode_keeps_bench_policy_and_calibrations(panda, clock, tmp_path):
    with open_bench(panda, clock, paced=False) as live:
        store = Store.create(tmp_path / "store")
        made = Chosen(expert(live), "expert of lift", "abc123")
        with recording(store, live, made, clock, lambda review: review.proposed) as session:
            run(live, made.policy, [0], clock, [session])
        episode = store[store.ids()[0]]
        store.close()
    assert episode.meta.bench == "panda_twin"
    assert episode.meta.extra["policy_hash"] == "abc123"
    assert episode.meta.extra["bench_sha256"] == panda.sha256
    assert episode.meta.extra["cameras"]["mocap"]["calibration"] == ""
    assert episode.outcome is Outcome.SUCCESS
    assert np.all(episode.actor == Actor.SCRIPT)


def test_in_shadow_the_twin_moves_and_the_arm_is_never_written(clock, tmp_path):
    for name in ("ur5e_mujoco", "ur5e_twin"):
        text = (BENCHES / f"{name}.toml").read_text()
        if name == "ur5e_twin":  # the arm that reports is here a second MuJoCo arm
            head, _, rest = text.partition("[robot]")
            world = '[world]\nplugin = "mujoco"\ntask = "reach"\nrobot = "ur5e"\nseed = 5\n\n'
            text = head + world + '[robot]\nplugin = "mujoco"\n\n[control]' + rest.partition("[control]")[2]
        (tmp_path / f"{name}.toml").write_text(text)
    with open_bench(read_bench(tmp_path / "ur5e_twin.toml"), clock, shadow=True, paced=False) as live:
        assert live.file.name == "ur5e_mujoco"
        assert "real.arm.q" in live.env.observation_spec
        live.env.reset([9], [0])
        start = live.env.observe().arrays
        np.testing.assert_allclose(start["arm.q"], start["real.arm.q"], atol=1e-3)  # the twin starts where the arm is
        (one,) = run(live, expert(live), [9], clock)
        assert one.outcome is Outcome.SUCCESS
        end = live.env.observe().arrays
        np.testing.assert_allclose(end["real.arm.q"], start["real.arm.q"], atol=5e-3)
        assert np.abs(end["arm.q"] - end["real.arm.q"]).max() > 0.05
        assert live.facts["shadow_of"]["bench_file"] == "ur5e_twin.toml"
    with (
        pytest.raises(BenchError, match="names no shadow bench"),
        open_bench(read_bench(tmp_path / "ur5e_mujoco.toml"), clock, shadow=True, paced=False),
    ):
        pass


def test_what_only_reports_has_no_way_to_be_written(clock):
    robot = TwinRobotConfig(report_only=True).build(clock)
    seen = Reporting(robot)
    assert not hasattr(seen, "write")
    check(seen.read().arrays, seen.spec)
    with pytest.raises(BenchError, match="only reports"):
        robot.write({"arm.q_target": robot.read().arrays["arm.q"], "gripper.command": np.zeros(1)})


def test_an_arm_in_other_frames_measures_in_the_benchs(clock):
    robot = TwinRobotConfig(TwinWorldConfig(task="reach", robot="ur5e")).build(clock)
    turned, longer = np.diag([-1.0, -1.0, 1.0, 1.0]), np.eye(4)
    turned[:3, 3], longer[2, 3] = [0.1, 0.2, 0.3], 0.05
    mounted = Mounted(robot, turned, longer, np.array([0.0, 1.0, 0.0, 0.0]))
    seen, own = mounted.read().arrays, robot.read().arrays
    assert mounted.chain is not None
    posed = mounted.chain.posture(own["arm.q"][None])
    np.testing.assert_allclose(posed.tool[0], seen["tool.position"], atol=1e-6)
    down = posed.hand[0][:, 2]
    np.testing.assert_allclose(
        seen["tool.position"], turned[:3, :3] @ own["tool.position"] + turned[:3, 3] + 0.05 * down, atol=1e-6
    )
    assert seen["tool.quaternion"] @ [0, 1, 0, 0] > 0
    require_tool(mounted)
    bent = TwinRobotConfig(TwinWorldConfig(task="reach", robot="ur5e")).build(clock)
    read = bent.read
    bent.read = lambda: read()._replace(arrays=dict(read().arrays) | {"tool.position": np.array([-0.45, 0.0, 0.3])})
    with pytest.raises(BenchError, match="no tool explains the difference"):
        require_tool(bent)
