import numpy as np
import pytest

from robolearn.episode import Actor, Outcome, Perturbation
from robolearn.errors import SpecError, UnknownName
from robolearn.specs import check
from sim.task import canonical
from sim.tasks.lift import REST_M, LiftConfig, LiftExpertConfig
from sim.tasks.lift_expert import Subtask


def run(env, teacher, seeds, *, steps=100, each=lambda step, env: None):
    """Roll out until all rows are over; returns observations (T + 1, n, ...), actions and final outcomes."""
    rows = range(env.n)
    env.reset(seeds, rows)
    teacher.reset(seeds, rows)
    seen, sent, notes = [env.observe()], [], []
    for step in range(steps):
        each(step, env)
        decision = teacher.act(seen[-1].arrays)
        sent.append(env.act({name: decision[name] for name in env.action_spec}))
        notes.append(decision["note.subtask"])
        seen.append(env.observe())
        assert set(env.world.warnings().values()) == {0}
        if np.all(env.outcomes() != Outcome.RUNNING):
            break
    return seen, sent, np.array(notes)


@pytest.fixture(scope="module")
def rollout():
    env = LiftConfig(n=50).build()
    teacher = LiftExpertConfig().build(env)
    seen, sent, notes = run(env, teacher, range(50))
    outcomes = env.outcomes()
    env.close()
    return env, seen, sent, notes, outcomes


def test_the_teacher_succeeds(rollout):
    assert np.mean(rollout[4] == Outcome.SUCCESS) >= 0.98


def test_specs_are_obeyed(rollout):
    env, seen, sent, _, _ = rollout
    for reading in seen:
        check(reading.arrays, env.observation_spec, lead=(50,), limits=True)
    for action in sent:
        check(action, env.action_spec, lead=(50,), limits=True)


def test_time_grows_by_one_period(rollout):
    times = np.array([reading.time for reading in rollout[1]])
    np.testing.assert_allclose(np.diff(times, axis=0), 0.05, atol=1e-9)


def test_no_element_of_an_observation_is_constant(rollout):
    env, seen, _, _, _ = rollout
    for name in env.observation_spec:
        values = np.stack([reading.arrays[name] for reading in seen])
        assert np.all(values.std(axis=(0, 1)) > 0), name


def test_quaternions_are_unit_and_continuous(rollout):
    for name in ("tool.quaternion", "cube.quaternion"):
        values = np.stack([reading.arrays[name] for reading in rollout[1]])
        np.testing.assert_allclose(np.linalg.norm(values, axis=-1), 1.0, atol=1e-9)
    tool = np.stack([reading.arrays["tool.quaternion"] for reading in rollout[1]])
    assert np.abs(np.diff(tool, axis=0)).max() < 0.2


def test_demonstrations_are_smooth_and_go_forward(rollout):
    _, seen, sent, notes, _ = rollout
    tool = np.stack([reading.arrays["tool.position"] for reading in seen])
    assert np.linalg.norm(np.diff(tool, axis=0), axis=-1).max() < 0.03
    for row in range(50):
        order = [int(code) for i, code in enumerate(notes[:, row]) if i == 0 or code != notes[i - 1, row]]
        assert order == [Subtask.APPROACH, Subtask.GRASP, Subtask.LIFT]
    resting = np.stack([np.abs(action["arm.delta"]).max(axis=1) for action in sent]) < 1e-3
    assert resting.mean() < 0.2  # no long dithering


def test_same_seed_same_trajectory_in_any_row_of_any_batch():
    one = LiftConfig(n=1).build()
    three = LiftConfig(n=3, threads=2).build()
    seen_one, sent_one, _ = run(one, LiftExpertConfig().build(one), [7], steps=25)
    seen_three, sent_three, _ = run(three, LiftExpertConfig().build(three), [3, 7, 5], steps=25)
    for single, many in zip(seen_one, seen_three, strict=True):
        for name in one.observation_spec:
            assert np.array_equal(single.arrays[name], many.arrays[name][1:2]), name
    for single, many in zip(sent_one, sent_three, strict=True):
        for name in one.action_spec:
            assert np.array_equal(single[name], many[name][1:2]), name


def test_reset_of_one_row_repeats_its_start_and_leaves_the_others():
    env = LiftConfig(n=3).build()
    env.reset([1, 2, 3], range(3))
    first = env.observe().arrays
    action = {"arm.delta": np.full((3, 6), 0.01), "gripper.command": np.ones((3, 1))}
    for _ in range(5):
        env.act(action)
    before = env.observe()
    env.reset([1], [2])
    after = env.observe()
    assert np.asarray(after.time)[2] == 0
    for name in env.observation_spec:
        assert np.array_equal(after.arrays[name][2], first[name][0]), name
        assert np.array_equal(after.arrays[name][:2], before.arrays[name][:2]), name


def test_arrays_belong_to_the_caller():
    env = LiftConfig(n=2, cameras=(("agent", 16, 12),)).build()
    one, other = env.observe(), env.observe()
    action = {"arm.delta": np.full((2, 6), 0.01), "gripper.command": np.ones((2, 1))}
    sent = env.act(action)
    for name in env.observation_spec:
        assert np.array_equal(one.arrays[name], other.arrays[name])
        assert not np.shares_memory(one.arrays[name], other.arrays[name])
        one.arrays[name][:] = 7
        assert not np.array_equal(one.arrays[name], other.arrays[name]), name
    for name in env.action_spec:
        assert not np.shares_memory(sent[name], action[name])
    env.close()


def test_pictures_show_the_observed_moment():
    env = LiftConfig(n=2, cameras=(("agent", 84, 84), ("wrist", 64, 48))).build()
    env.reset([1, 1], [0, 1])
    arrays = env.observe().arrays
    assert arrays["wrist.rgb"].shape == (2, 48, 64, 3)
    assert arrays["agent.rgb"].std() > 10
    assert np.array_equal(arrays["agent.rgb"][0], arrays["agent.rgb"][1])
    env.reset([2], [1])
    again = env.observe().arrays["agent.rgb"]
    assert np.array_equal(again[0], arrays["agent.rgb"][0])
    assert not np.array_equal(again[1], arrays["agent.rgb"][1])
    env.close()
    env.close()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_action_moves_nothing(bad):
    env = LiftConfig(n=2).build()
    before = env.world.state.copy()
    delta = np.zeros((2, 6))
    delta[1, 3] = bad
    with pytest.raises(SpecError, match=r"'arm.delta' must be finite; found (nan|inf) at index \(1, 3\)"):
        env.act({"arm.delta": delta, "gripper.command": np.zeros((2, 1))})
    assert np.array_equal(env.world.state, before)


def test_actions_are_clipped_and_reported():
    env = LiftConfig(n=1).build()
    sent = env.act({"arm.delta": np.full((1, 6), 9.0), "gripper.command": np.full((1, 1), -3.0)})
    np.testing.assert_array_equal(sent["arm.delta"][0], [0.05] * 3 + [0.5] * 3)
    assert sent["gripper.command"][0, 0] == -1


def test_horizon_ends_as_timeout_and_the_row_keeps_moving_harmlessly():
    env = LiftConfig(n=1, horizon=3).build()
    action = {"arm.delta": np.full((1, 6), 0.05), "gripper.command": np.ones((1, 1))}
    outcomes = []
    for _ in range(60):
        env.act(action)
        outcomes.append(env.outcomes()[0])
    assert outcomes[:3] == [Outcome.RUNNING, Outcome.RUNNING, Outcome.TIMEOUT]
    assert set(outcomes[3:]) == {Outcome.TIMEOUT}
    assert np.all(np.isfinite(env.world.state))


def test_success_needs_the_cube_held_for_its_time():
    env = LiftConfig(n=1, hold_s=0.25).build()
    teacher = LiftExpertConfig().build(env)
    env.reset([0], [0])
    teacher.reset([0], [0])
    high = 0
    while env.outcomes()[0] == Outcome.RUNNING:
        decision = teacher.act(env.observe().arrays)
        assert decision["note.actor"][0] == Actor.SCRIPT
        env.act({name: decision[name] for name in env.action_spec})
        high += env.observe().arrays["cube.position"][0, 2] > REST_M + 0.04
    assert env.outcomes()[0] == Outcome.SUCCESS
    assert high == 5


def test_a_moved_cube_travels_smoothly_and_the_teacher_follows():
    env = LiftConfig(n=4).build()
    teacher = LiftExpertConfig().build(env)
    events = []

    def disturb(step, env):
        if step == 6:
            # Toward the middle of the table, whatever the start.
            towards = np.array([0.5, 0.0]) - env.observe().arrays["cube.position"][:, :2]
            for row, (dx, dy) in enumerate(0.08 * towards / np.linalg.norm(towards, axis=1, keepdims=True)):
                move = Perturbation("MOVE_OBJ", "cube", {"dx": dx, "dy": dy, "dyaw": 0.3})
                events.append((env.apply(row, move), (dx, dy)))

    seen, _, _ = run(env, teacher, range(4), each=disturb)
    cube = np.stack([reading.arrays["cube.position"] for reading in seen])
    for row, (event, move) in enumerate(events):
        assert event.accepted, event.reason
        assert event.time == pytest.approx(0.3)
        assert 0.4 < event.end - event.time < 0.7
        end = round(event.end / 0.05)
        np.testing.assert_allclose(cube[end + 1, row, :2] - cube[6, row, :2], move, atol=0.012)
    speed = np.linalg.norm(np.diff(cube[:25, :, :2], axis=0), axis=-1) / 0.05
    assert 0.15 < speed.max() <= 0.33
    assert np.all(env.outcomes() == Outcome.SUCCESS)


def test_moves_that_cannot_be_done_are_refused_with_a_reason():
    env = LiftConfig(n=2).build()
    teacher = LiftExpertConfig().build(env)
    env.reset([0, 1], [0, 1])
    before = env.observe().arrays["cube.position"]
    event = env.apply(0, Perturbation("MOVE_OBJ", "cube", {"dx": 1.0}))
    assert not event.accepted
    assert "not on the table within reach" in event.reason
    assert event.time == event.end
    assert np.array_equal(env.observe().arrays["cube.position"], before)
    middle = np.array([0.5, 0.0]) - before[0, :2]
    move = Perturbation("MOVE_OBJ", "cube", {"dx": middle[0], "dy": middle[1]})
    assert env.apply(0, move).accepted
    assert "already being moved" in env.apply(0, move).reason
    run(env, teacher, [0, 1], steps=26)
    small = Perturbation("MOVE_OBJ", "cube", {"dx": 0.01})
    while not np.all(env.observe().arrays["gripper.width"] < 0.05):
        decision = teacher.act(env.observe().arrays)
        env.act({name: decision[name] for name in env.action_spec})
    running = np.flatnonzero(env.outcomes() == Outcome.RUNNING)
    assert len(running)
    assert env.apply(int(running[0]), small).reason == "the cube is grasped"
    with pytest.raises(UnknownName, match="Valid names: BACKGROUND, CAMERA"):
        env.apply(0, Perturbation("PUSH", "cube"))
    with pytest.raises(UnknownName, match="Valid names: cube"):
        env.apply(0, Perturbation("MOVE_OBJ", "ball"))
    with pytest.raises(SpecError, match="must be finite"):
        env.apply(0, Perturbation("MOVE_OBJ", "cube", {"dx": float("nan")}))


def test_the_teacher_tries_again_after_an_empty_grasp():
    env = LiftConfig(n=1, horizon=160).build()
    teacher = LiftExpertConfig().build(env)
    env.reset([0], [0])
    teacher.reset([0], [0])
    subtasks = []
    while env.outcomes()[0] == Outcome.RUNNING:
        seen = dict(env.observe().arrays)
        if Subtask.RETREAT not in subtasks:
            # Until the first failure it believes the cube to be 8 cm beside where it is.
            seen["cube.position"] = seen["cube.position"] + [0.0, 0.08, 0.0]
        decision = teacher.act(seen)
        subtasks.append(int(decision["note.subtask"][0]))
        env.act({name: decision[name] for name in env.action_spec})
    assert Subtask.RETREAT in subtasks
    assert env.outcomes()[0] == Outcome.SUCCESS


def test_starts_cover_the_stated_range():
    task = LiftConfig().sim_task()
    starts = [task.start(np.random.default_rng(seed)) for seed in range(300)]
    xy = np.array([s["cube.position"][:2] for s in starts]) - [0.5, 0.0]
    assert np.abs(xy).max() <= 0.10
    assert np.all(xy.max(axis=0) > 0.09)
    assert np.all(xy.min(axis=0) < -0.09)


def test_canonical_quaternions_take_the_references_side():
    q = np.array([[0.1, -0.9, 0.3, 0.2], [-0.5, 0.5, 0.5, 0.5]])
    side = canonical(q, (0.0, 1.0, 0.0, 0.0))
    assert np.all(side[:, 1] >= 0)
    assert np.array_equal(np.abs(side), np.abs(q))
