import numpy as np
import pytest

from robolearn.clock import FakeClock
from robolearn.episode import Outcome, Perturbation
from robolearn.errors import SpecError, UnknownName
from robolearn.specs import check
from sim.acts.look import LookRanges
from sim.devices import TwinRobotConfig
from sim.env import BatchEnv
from sim.perturbations import Budget
from sim.tasks.lift import LiftConfig, LiftExpertConfig
from sim.tasks.pick_place import PickPlaceConfig, PickPlaceExpertConfig
from sim.tasks.pick_place_scene import INSTRUCTIONS
from sim.twin_world import TwinWorldConfig

FREE = Budget(object=99, push=99, slip=99, distractor=99, gap_s=0.0)


def make(n=2, **options):
    env = BatchEnv(LiftConfig(horizon=300).sim_task(), n, budget=FREE, **options)
    env.reset(range(n), range(n))
    return env


def still(env):
    return {"arm.delta": np.zeros((env.n, 6)), "gripper.command": -np.ones((env.n, 1))}


def closed(env):
    return {"arm.delta": np.zeros((env.n, 6)), "gripper.command": np.ones((env.n, 1))}


def wait(env, steps, action=still):
    seen = []
    for _ in range(steps):
        env.act(action(env))
        seen.append(env.observe().arrays)
    return {name: np.stack([s[name] for s in seen]) for name in seen[0]}


ACTS = [
    Perturbation("MOVE_OBJ", "cube", {"dx": 0.01, "dy": 0.02, "dyaw": 0.2}),
    Perturbation("ROTATE_OBJ", "cube", {"dyaw": 0.5}),
    Perturbation("PUSH_ROBOT", "", {"fx": 10.0, "fz": -5.0, "for_s": 0.2}),
    Perturbation("LATENCY", "", {"delay_s": 0.1, "for_s": 0.5}),
    Perturbation("LIGHT", "", {"azimuth": 1.0, "for_s": 0.5}),
    Perturbation("BACKGROUND", "stone", {"for_s": 0.5}),
    Perturbation("CAMERA", "agent", {"dx": 0.05, "for_s": 0.5}),
    Perturbation("DISTRACTOR", "can", {"x": 0.35, "y": 0.30}),
    Perturbation("FRICTION", "cube", {"scale": 0.5}),
    Perturbation("MASS", "cube", {"scale": 3.0}),
    Perturbation("NOISE", "cube.position", {"std": 0.01, "for_s": 0.5}),
]


@pytest.mark.parametrize("act", ACTS, ids=lambda a: a.kind)
def test_a_disturbed_row_leaves_the_others_alone_and_equals_a_batch_of_one(act):
    plain, mixed, single = make(3), make(3, threads=2), make(1)
    single.reset([1], [0])
    event = mixed.apply(1, act)
    assert event.accepted, event.reason
    assert event == single.apply(0, act)
    assert event.end >= event.time
    generator = np.random.default_rng(0)
    for _ in range(24):
        delta = generator.uniform(-1, 1, 6) * ([0.02] * 3 + [0.05] * 3)
        for env in (plain, mixed, single):
            env.act({"arm.delta": np.tile(delta, (env.n, 1)), "gripper.command": -np.ones((env.n, 1))})
        ours, theirs, alone = (env.observe().arrays for env in (mixed, plain, single))
        check(ours, mixed.observation_spec, lead=(3,))
        for name in ours:
            assert np.array_equal(ours[name][[0, 2]], theirs[name][[0, 2]]), name
            assert np.array_equal(ours[name][1:2], alone[name]), name
        assert set(mixed.world.warnings().values()) == {0}
    # A new episode forgets everything.
    for env in (mixed, plain):
        env.reset([5], [1])
        wait(env, 3)
    for name, value in plain.observe().arrays.items():
        assert np.array_equal(mixed.observe().arrays[name], value), name
    assert mixed.perturbations.dress is None


def test_turning_an_object_turns_it_in_place():
    env = make(1)
    before = env.observe().arrays
    event = env.apply(0, Perturbation("ROTATE_OBJ", "cube", {"dyaw": 0.6}))
    after = wait(env, round(event.end / 0.05) + 4)
    turned = 2 * np.arccos(np.clip(np.abs((after["cube.quaternion"][-1] * before["cube.quaternion"]).sum()), 0, 1))
    assert turned == pytest.approx(0.6, abs=0.05)
    assert np.linalg.norm(after["cube.position"][-1] - before["cube.position"]) < 0.01


def test_a_push_bends_the_arm_and_lets_go():
    env = make(2)
    event = env.apply(1, Perturbation("PUSH_ROBOT", "", {"fy": 40.0, "for_s": 0.3}))
    assert event.end - event.time == pytest.approx(0.3)
    tool = wait(env, 40)["tool.position"]
    aside = np.abs(tool[:, 1, 1] - tool[-1, 1, 1])
    assert 0.004 < aside[:10].max() < 0.10
    assert aside[30:].max() < 0.002
    assert np.all(env.world.inputs["xfrc_applied"] == 0)
    reason = env.apply(0, Perturbation("PUSH_ROBOT", "", {"fx": 50.0, "fy": 50.0})).reason
    assert reason == "a push of 71 N is more than 60 N"
    assert env.apply(0, Perturbation("PUSH_ROBOT", "", {"fx": 90.0})).reason.startswith("fx must lie within [-60, 60]")


def test_a_slip_opens_the_fingers_for_a_moment():
    env = make(2)
    assert env.apply(0, Perturbation("SLIP")).reason == "the gripper is open and holds nothing"
    wait(env, 20, closed)
    width = env.observe().arrays["gripper.width"][0, 0]
    event = env.apply(0, Perturbation("SLIP", params={"for_s": 0.15}))
    assert event.accepted
    after = wait(env, 20, closed)["gripper.width"][:, :, 0]
    assert after[:6, 0].max() > width + 0.01
    assert after[-1, 0] == pytest.approx(width, abs=1e-3)
    assert np.abs(after[:, 1] - width).max() < 1e-3


def test_late_commands_arrive_late_and_whole():
    env = make(2)
    event = env.apply(1, Perturbation("LATENCY", "", {"delay_s": 0.2, "for_s": 1.0}))
    assert event.end == pytest.approx(1.0)
    controls = []
    for step in range(40):
        delta = np.tile([0.0, 0.01 if step < 10 else 0.0, 0.0, 0.0, 0.0, 0.0], (2, 1))
        env.act({"arm.delta": delta, "gripper.command": np.ones((2, 1)) * (1.0 if step else -1.0)})
        controls.append(env.world.inputs["ctrl"][:, -1].copy())
    fingers = np.array(controls)[:, :, 7]
    # Told to close from the second step on, the late row closes four control periods after the other.
    first = [int(np.argmax(fingers[:, row] < 0.039)) for row in range(2)]
    assert first == [1, 5]
    speed = np.abs(np.diff(np.array(controls)[:, 1, :7], axis=0)).max()
    assert speed < 0.12  # caught up without a jump
    assert env.perturbations.arm.idle


def test_noise_is_seen_and_not_believed():
    env = make(2, cameras=())
    truth = env.observe().arrays["cube.position"]
    env.apply(0, Perturbation("NOISE", "cube.position", {"std": 0.02, "for_s": 0.5}))
    one, other = env.observe().arrays, env.observe().arrays
    assert np.array_equal(one["cube.position"], other["cube.position"])
    seen = wait(env, 20)["cube.position"]
    assert seen[:8, 0].std(axis=0).min() > 0.005
    assert np.abs(seen[:, 1] - truth[1]).max() < 1e-3
    assert np.abs(seen[10:, 0] - truth[0]).max() < 1e-3
    assert np.array_equal(one["task.reward"], other["task.reward"])


def test_mass_and_friction_change_what_happens_and_only_at_the_start():
    plain, heavy = make(1), make(1)
    assert heavy.apply(0, Perturbation("MASS", "cube", {"scale": 4.0})).accepted
    assert heavy.apply(0, Perturbation("FRICTION", "table", {"scale": 0.5})).accepted
    own = heavy.world.own_model(0)
    assert own is not heavy.model
    body = own.body("cube").id
    assert own.body_mass[body] == pytest.approx(4 * heavy.model.body_mass[body])
    assert own.stat.meaninertia == heavy.model.stat.meaninertia
    wait(heavy, 1)
    wait(plain, 1)
    late = heavy.apply(0, Perturbation("MASS", "cube", {"scale": 0.5}))
    assert late.reason == "it is possible only before the first action of an episode"
    heavy.reset([0], [0])
    assert heavy.world._models[0] is heavy.model


def test_a_distractor_stands_until_it_is_taken_away():
    env = make(1)
    can = {"x": 0.40, "y": 0.30}
    event = env.apply(0, Perturbation("DISTRACTOR", "can", can))
    assert event.end - event.time == pytest.approx(0.8)
    wait(env, 20)
    assert env.apply(0, Perturbation("DISTRACTOR", "can", can)).reason == "the can stands on the table already"
    cube = env.observe().arrays["cube.position"][0]
    near = {"x": float(cube[0]), "y": float(cube[1]) + 0.02}
    assert "in the way" in env.apply(0, Perturbation("DISTRACTOR", "carton", near)).reason
    # The cube cannot be pushed through it.
    assert env.perturbations.clutter._position[0, 0, :2].tolist() == [0.40, 0.30]
    assert env.apply(0, Perturbation("DISTRACTOR", "can", {"present": 0.0})).accepted
    wait(env, 20)
    assert env.perturbations.clutter.empty
    assert env.apply(0, Perturbation("DISTRACTOR", "can", {"present": 0.0})).reason == "there is no can on the table"


def pictures(env):
    return env.observe().arrays["agent.rgb"].astype(int)


def test_looks_change_pictures_and_nothing_else_and_end_when_they_should():
    env = make(2, cameras=(("agent", 64, 48),))
    first = pictures(env)
    for act in ACTS[4:7]:
        event = env.apply(1, act)
        assert event.end - event.time == pytest.approx(0.5)
        changed = np.abs(pictures(env) - first).mean(axis=(1, 2, 3))
        assert changed[0] == 0, act.kind
        assert changed[1] > 2, act.kind
        env.reset([1], [1])
    env.apply(1, ACTS[5])
    wait(env, 12)
    assert np.abs(pictures(env) - first).mean() < 1
    env.close()


def test_random_looks_come_from_the_seed():
    env = BatchEnv(LiftConfig().sim_task(), 3, cameras=(("agent", 64, 48),), looks=LookRanges())
    env.reset([7, 8, 7], range(3))
    one = pictures(env)
    assert np.array_equal(one[0], one[2])
    assert np.abs(one[0] - one[1]).mean() > 5
    plain = LiftConfig(n=3).build()
    plain.reset([7, 8, 7], range(3))
    for name, value in plain.observe().arrays.items():
        assert np.array_equal(env.observe().arrays[name], value), name
    env.close()


def test_budget_and_gap():
    env = BatchEnv(LiftConfig(horizon=300).sim_task(), 1, budget=Budget(object=2))
    env.reset([0], [0])
    turn = Perturbation("ROTATE_OBJ", "cube", {"dyaw": 0.1})
    reasons = []
    for _ in range(6):
        wait(env, 10)
        reasons.append(env.apply(0, turn).reason)
    early, spent = "the last disturbance began less than 1 s ago", "the episode's budget of 2 for this kind is spent"
    assert reasons == ["", early, "", spent, spent, spent]
    env.reset([0], [0])
    assert env.apply(0, turn).accepted


def test_nonsense_is_refused_with_the_valid_names():
    env = make(1)
    with pytest.raises(UnknownName, match=r"Unknown target of BACKGROUND 'granite'.*Valid names: cloth, stone, wood"):
        env.apply(0, Perturbation("BACKGROUND", "granite"))
    with pytest.raises(UnknownName, match=r"Unknown parameter of LIGHT 'bright'.*azimuth, elevation, for_s, intensity"):
        env.apply(0, Perturbation("LIGHT", "", {"bright": 1.0}))
    with pytest.raises(UnknownName, match=r"Unknown perturbation 'SET_CMD'"):
        env.apply(0, Perturbation("SET_CMD", instruction="lift the blue one"))
    with pytest.raises(SpecError, match=r"PUSH_ROBOT: fx, fy, fz, for_s must be finite"):
        env.apply(0, Perturbation("PUSH_ROBOT", "", {"fx": float("inf")}))
    assert env.apply(0, Perturbation("NOISE", "tool.position", {"std": 3.0})).reason == (
        "std must lie within [0, 0.2]; found 3"
    )


def test_the_teacher_recovers_from_a_push_and_a_slip():
    env = make(8)
    teacher = LiftExpertConfig().build(env)
    teacher.reset(range(8), range(8))
    accepted = 0
    for step in range(250):
        if step == 5:
            accepted += sum(env.apply(r, Perturbation("PUSH_ROBOT", "", {"fy": 30.0})).accepted for r in range(8))
        if step == 22:
            accepted += sum(env.apply(r, Perturbation("SLIP", "", {"for_s": 0.2})).accepted for r in range(8))
        decision = teacher.act(env.observe().arrays)
        env.act({name: decision[name] for name in env.action_spec})
    assert accepted > 8
    assert np.mean(env.outcomes() == Outcome.SUCCESS) >= 0.85


@pytest.fixture
def twin():
    clock = FakeClock(50.0)
    robot = TwinRobotConfig(timeout_s=10.0).build(clock)
    return clock, robot, robot.world


def command(robot, close=-1.0):
    return {"arm.q_target": np.array(robot.world.task.robot.home), "gripper.command": np.array([close])}


def run(clock, seconds):
    clock.advance(seconds)


def test_the_twin_is_disturbed_by_the_same_acts(twin):
    clock, robot, world = twin
    assert world.apply(Perturbation("MASS", "cube", {"scale": 2.0})).accepted
    assert world.model.body("cube").mass[0] == pytest.approx(0.16)
    robot.write(command(robot))
    clock.advance(0.5)
    start = world.measure()[1]["cube.position"]
    centre = np.array([0.5, 0.0]) - start[:2]
    move = 0.05 * centre / np.linalg.norm(centre)
    event = world.apply(Perturbation("MOVE_OBJ", "cube", {"dx": float(move[0]), "dy": float(move[1])}))
    assert event.accepted
    assert event.time == clock.now()
    clock.advance(event.end - event.time + 0.2)
    np.testing.assert_allclose(world.measure()[1]["cube.position"][:2] - start[:2], move, atol=0.012)
    assert world.apply(Perturbation("MASS", "cube", {"scale": 0.5})).reason.startswith("it is possible only before")
    tool = world.measure()[1]["tool.position"]
    clock.advance(1.0)
    world.apply(Perturbation("PUSH_ROBOT", "", {"fy": 40.0, "for_s": 0.3}))
    clock.advance(0.25)
    assert np.abs(world.measure()[1]["tool.position"] - tool).max() > 0.004
    clock.advance(1.0)
    assert np.abs(world.measure()[1]["tool.position"] - tool).max() < 0.003
    assert np.all(world.data.xfrc_applied == 0)
    world.reset(0)
    assert world.model.body("cube").mass[0] == pytest.approx(0.08)


def test_the_twins_gripper_slips_and_its_commands_come_late(twin):
    clock, robot, world = twin
    robot.write(command(robot, 1.0))
    clock.advance(1.0)
    width = robot.read().arrays["gripper.width"][0]
    assert world.apply(Perturbation("SLIP", "", {"for_s": 0.2})).accepted
    clock.advance(0.2)
    assert robot.read().arrays["gripper.width"][0] > width + 0.01
    clock.advance(1.0)
    assert robot.read().arrays["gripper.width"][0] == pytest.approx(width, abs=1e-3)
    assert world.apply(Perturbation("LATENCY", "", {"delay_s": 0.4, "for_s": 1.0})).accepted
    clock.advance(0.1)
    robot.read()
    robot.write(command(robot, -1.0))
    clock.advance(0.35)
    assert robot.read().arrays["gripper.width"][0] < width + 0.002
    clock.advance(0.4)
    assert robot.read().arrays["gripper.width"][0] > 0.06


def test_the_twin_starts_alike_after_any_disturbance():
    ends = []
    for disturbed in (False, True):
        clock = FakeClock()
        world = TwinWorldConfig(seed=4).build(clock)
        if disturbed:
            for act in (ACTS[0], ACTS[2], ACTS[8]):
                world.apply(act)
            clock.advance(0.33)
            world.advance()
        world.reset(4)
        clock.advance(0.5)
        ends.append(world.state()[1:])
    assert np.array_equal(*ends)


def pick_place(n, **fields):
    env = PickPlaceConfig(n=n, **fields).build()
    env.reset(range(n), range(n))
    return env


def test_a_new_command_is_seen_and_obeyed():
    env = pick_place(2)
    told = env.observe().arrays["task.command"].argmax(axis=1)
    other = INSTRUCTIONS[(told[0] + 3) % 6]
    event = env.apply(0, Perturbation("SET_CMD", instruction=other))
    assert event.accepted
    assert event.params == {"instruction": other}
    teacher = PickPlaceExpertConfig().build(env)
    teacher.reset([0, 1], [0, 1])
    while np.any(env.outcomes() == Outcome.RUNNING):
        decision = teacher.act(env.observe().arrays)
        env.act({name: decision[name] for name in env.action_spec})
    assert env.observe().arrays["task.command"].argmax(axis=1).tolist() == [(told[0] + 3) % 6, told[1]]
    assert np.all(env.outcomes() == Outcome.SUCCESS)
    env.reset([0, 1], [0, 1])
    assert env.observe().arrays["task.command"].argmax(axis=1).tolist() == told.tolist()
    same = INSTRUCTIONS[told[0]]
    assert env.apply(0, Perturbation("SET_CMD", instruction=same)).reason == "this is the command already"
    with pytest.raises(UnknownName, match=r"Unknown instruction 'Put the kiwi into the sink.'.*Did you mean"):
        env.apply(0, Perturbation("SET_CMD", instruction="Put the kiwi into the sink."))


def test_containers_move_and_tables_rise_with_everything_on_them():
    env = pick_place(2, heights_m=(0.0,))
    before = env.observe().arrays
    assert env.apply(1, Perturbation("HEIGHT", "", {"z": 0.10})).accepted
    after = wait(env, 10)
    for name in env._sim_task.objects:
        rise = after[f"{name}.position"][-1, :, 2] - before[f"{name}.position"][:, 2]
        np.testing.assert_allclose(rise, [0.0, 0.10], atol=3e-3, err_msg=name)
    np.testing.assert_allclose(after["table.place"][-1, :, 0], [0.0, 0.10], atol=1e-3)
    assert "before the first action" in env.apply(1, Perturbation("HEIGHT", "", {"z": 0.05})).reason
    with pytest.raises(UnknownName, match="Valid names: basket, plate"):
        env.apply(0, Perturbation("MOVE_CONT", "kiwi", {"dx": 0.01}))
    start = env.observe().arrays["plate.position"][0]
    events = [env.apply(0, Perturbation("MOVE_CONT", "plate", {"dx": dx})) for dx in (0.05, -0.05)]
    assert any(event.accepted for event in events), [event.reason for event in events]
    wait(env, 20)
    assert np.linalg.norm(env.observe().arrays["plate.position"][0] - start) > 0.02


def test_a_lowered_base_is_drawn_and_the_twin_agrees():
    env = LiftConfig(n=2).build()
    env.reset([7, 7], [0, 1])
    plain = env.picture("agent", 96, 72)
    assert env.apply(1, Perturbation("HEIGHT", "", {"z": 0.10})).accepted
    now = env.picture("agent", 96, 72)
    assert np.array_equal(now[0], plain[0])
    assert np.mean(np.any(now[1] != plain[1], axis=-1)) > 0.02  # the arm, not the table
    clock = FakeClock()
    twin = TwinWorldConfig(task="lift", seed=7).build(clock)
    assert twin.apply(Perturbation("HEIGHT", "", {"z": 0.10})).accepted
    seen, (_, twins) = env.observe().arrays, twin.measure()
    for key in ("arm.q", "tool.position", "cube.position"):
        np.testing.assert_allclose(twins[key], seen[key][1], atol=3e-4, err_msg=key)
    twin.reset(7)
    np.testing.assert_allclose(twin.measure()[1]["cube.position"], seen["cube.position"][0], atol=3e-4)
    env.close()
