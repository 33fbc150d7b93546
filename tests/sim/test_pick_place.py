import numpy as np
import pytest

from robolearn.episode import Outcome, Perturbation
from robolearn.errors import UnknownName
from sim.tasks.pick_place import PickPlaceConfig, PickPlaceExpertConfig
from sim.tasks.pick_place_expert import Subtask
from sim.tasks.pick_place_scene import CONTAINERS, FRUITS, INSTRUCTIONS, chosen


def run(env, seeds, each):
    """Roll out with the teacher; `each(step, subtask, env)` may disturb."""
    teacher = PickPlaceExpertConfig().build(env)
    env.reset(seeds, range(env.n))
    teacher.reset(seeds, range(env.n))
    step, subtasks = 0, []
    while np.any(env.outcomes() == Outcome.RUNNING):
        decision = teacher.act(env.observe().arrays)
        subtasks.append(decision["note.subtask"])
        each(step, decision["note.subtask"], env)
        env.act({name: decision[name] for name in env.action_spec})
        step += 1
    return np.array(subtasks)


@pytest.mark.parametrize("moment", [Subtask.APPROACH, Subtask.GRASP, Subtask.PLACE])
def test_another_command_in_the_middle_is_done_instead(moment):
    """Before, during and after the grasp; the fruit in the hand is put down for another."""
    env = PickPlaceConfig(n=6, horizon=500).build()
    told = {}

    def command(step, subtask, env):
        for row in np.flatnonzero(subtask == moment):
            if row not in told and step >= 6:
                old = int(np.argmax(env.observe().arrays["task.command"][row]))
                new = (old + 2 + row % 2) % 6  # another fruit, in the same or the other container
                event = env.apply(int(row), Perturbation("SET_CMD", instruction=INSTRUCTIONS[new]))
                assert event.accepted, event.reason
                told[row] = (old, new)

    subtasks = run(env, range(6), command)
    assert len(told) == 6
    assert np.all(env.outcomes() == Outcome.SUCCESS)
    seen = env.observe().arrays
    for row, (old, new) in told.items():
        assert np.argmax(seen["task.command"][row]) == new
        last = seen[f"{FRUITS[old // 2]}.position"][row]
        assert last[2] < seen["table.place"][row, 0] + 0.05  # nothing is left in the hand
    # Who is told while the gripper closes notices when the fruit is in the hand already.
    assert np.any(subtasks == Subtask.PUT_BACK) == (moment != Subtask.APPROACH)


def test_a_moved_fruit_and_a_moved_container_are_followed():
    env = PickPlaceConfig(n=8, horizon=400).build()
    moved = []

    def disturb(step, subtask, env):
        seen = env.observe().arrays
        index = np.argmax(seen["task.command"], axis=1)
        for row in range(8):
            if step in (5, 30):
                name = FRUITS[index[row] // 2] if step == 5 else CONTAINERS[index[row] % 2]
                toward = np.array([0.5, 0.0]) - seen[f"{name}.position"][row, :2]
                dx, dy = 0.06 * toward / np.linalg.norm(toward)
                kind = "MOVE_OBJ" if step == 5 else "MOVE_CONT"
                moved.append(env.apply(row, Perturbation(kind, name, {"dx": dx, "dy": dy})).accepted)

    run(env, range(8), disturb)
    assert sum(moved) >= 6
    assert np.all(env.outcomes() == Outcome.SUCCESS)


def test_starts_keep_held_out_commands_back_and_cover_the_heights():
    kept = tuple(command for command in INSTRUCTIONS if "kiwi" not in command)
    task = PickPlaceConfig(commands=kept).sim_task()
    starts = [task.start(np.random.default_rng(seed)) for seed in range(60)]
    told = {int(np.argmax(start["task.command"])) for start in starts}
    assert told == {0, 1, 2, 3}
    assert {float(start["table/z"]) for start in starts} == {0.0, 0.06, 0.12}
    for start in starts:
        xy = np.array([start[f"{name}.position"][:2] for name in task.objects])
        apart = np.linalg.norm(xy[:, None] - xy, axis=-1) + np.eye(5)
        assert apart.min() > 0.11


def test_unknown_command_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'Put the kiwi into the basket"):
        PickPlaceConfig(commands=("Put the kiwi into a basket",)).build()


def test_chosen_follows_the_command():
    env = PickPlaceConfig(n=6).build()
    seen = dict(env.observe().arrays)
    seen["task.command"] = np.eye(6)
    fruit, container = chosen(seen)
    for row in range(6):
        assert np.array_equal(fruit[row], seen[f"{FRUITS[row // 2]}.position"][row])
        assert np.array_equal(container[row], seen[f"{CONTAINERS[row % 2]}.position"][row])


def test_the_raised_table_carries_what_stands_on_it():
    env = PickPlaceConfig(n=3, heights_m=(0.12,)).build()
    action = {"arm.delta": np.zeros((3, 6)), "gripper.command": -np.ones((3, 1))}
    for _ in range(100):
        env.act(action)
    seen = env.observe().arrays
    np.testing.assert_allclose(seen["table.place"], 0.12, atol=1e-4)
    for name in FRUITS + CONTAINERS:
        assert np.all(seen[f"{name}.position"][:, 2] > 0.117)
