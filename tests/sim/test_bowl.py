import numpy as np
import pytest

from robolearn.episode import Outcome, Perturbation
from sim.tasks.bowl import PINS, BowlConfig, BowlExpertConfig
from sim.tasks.bowl_expert import REACH_M, Subtask


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
    return {name: np.stack([s[name] for s in seen]) for name in seen[0]}, np.array(notes)


@pytest.mark.parametrize("robot", BowlConfig.robots)
def test_the_ball_rolls_on_by_itself_into_the_pins(robot):
    env = BowlConfig(n=8, robot=robot).build()
    seen, notes = play(env, BowlExpertConfig().build(env), range(70, 78))
    assert np.mean(env.outcomes() == Outcome.SUCCESS) >= 7 / 8
    assert seen["tool.position"][..., 0].max() < REACH_M + 0.05
    # While it watches, nobody touches the ball, and it still covers the way to the pins.
    for row in range(8):
        watching = notes[:, row] == Subtask.WATCH
        ball = seen["ball.position"][watching, row, 0]
        assert ball.max() - ball[0] > 0.1


def test_pins_that_stand_or_lean_a_little_are_not_down():
    env = BowlConfig(n=1).build()
    task, seen = env._sim_task, dict(env._seen)
    assert not task.success(seen)[0]
    for angle, down in ((0.3, False), (0.6, True), (1.57, True)):
        leaning = {f"{n}.quaternion": np.array([[np.cos(angle / 2), np.sin(angle / 2), 0, 0]]) for n in PINS}
        assert bool(task.success(seen | leaning)[0]) is down
        assert task.reward(seen | leaning)[0] <= 1.0


def test_the_bowler_aims_at_where_the_pins_went():
    env = BowlConfig(n=4).build()
    events = []

    def disturb(step):
        if step == 4:
            for row in range(4):
                events.append(env.apply(row, Perturbation("MOVE_OBJ", "ball", {"dy": 0.03 if row % 2 else -0.03})))

    play(env, BowlExpertConfig().build(env), range(80, 84), disturb)
    assert any(event.accepted for event in events), [event.reason for event in events]
    assert np.mean(env.outcomes() == Outcome.SUCCESS) >= 0.75


def test_a_rolling_ball_is_not_moved():
    env = BowlConfig(n=1).build()
    far = {name: value[0] for name, value in env._seen.items()} | {"ball.position": np.array([0.6, 0.0, 0.035])}
    assert env._sim_task.refuse_move(far, "ball", np.array([0.43, 0.0])) == "the ball is rolling"
    assert "is not where the ball belongs" in env._sim_task.refuse_move(far, "ball", np.array([0.7, 0.0]))
