"""The rules of the UR twin, cycle by cycle and without sockets; each beside a broken twin on which its check fails."""

import math

import numpy as np
import pytest

from hardware.kinematic_arm import KinematicArm, KinematicArmConfig, RobotPhysics
from hardware.rtde_protocol import Recipe, SafetyMode, field_type
from hardware.ur_controller import UrController
from hardware.ur_models import UR_MODELS, find_ur, flange_pose
from hardware.ur_script import ControlScript
from robolearn.episode import Reading
from robolearn.errors import BenchError, UnknownName
from robolearn.geometry import quaternion_from_rotation_vector, quaternion_to_matrix
from robolearn.specs import ArraySpec

MOVEJ, SPEEDJ, SERVOJ, SPEED_STOP, SERVO_STOP, WATCHDOG, STOP = 1, 9, 11, 15, 16, 35, 255
LEFT = (1.0, -1.57, 1.57, -1.57, -1.57, 0.0)


def controller(script: ControlScript | None = None, cls=UrController, model="ur5e") -> UrController:
    box = cls(find_ur(model), KinematicArmConfig().build())
    box.start_program(script or ControlScript())
    run(box, 0.01)
    return box


def run(box: UrController, seconds: float) -> None:
    for _ in range(round(seconds / box.period_s)):
        box.step()


def send(box: UrController, command: int, *values: float) -> None:
    doubles = {f"input_double_register_{k}": (value,) for k, value in enumerate(values)}
    box.set_inputs({"input_int_register_0": (command,)} | doubles)


def call(box: UrController, command: int, *values: float, seconds: float = 5.0) -> bool:
    """What the client does with a blocking command: send, wait for "done", clear, wait for "ready"."""
    send(box, command, *values)
    for _ in range(round(seconds / box.period_s)):
        box.step()
        if box.outputs.get("output_int_register_0") == (2,):
            send(box, 0)
            run(box, 0.01)
            return box.outputs["output_int_register_0"] == (1,)
    return False


def servo(box: UrController, q, seconds: float = 0.002) -> None:
    send(box, SERVOJ, *q, 0.0, 0.0, 0.002, 0.05, 300.0)
    run(box, seconds)


def moving_at(box: UrController, speed: float = 1.0) -> None:
    q = box.motion.q.copy()
    for _ in range(150):
        q[0] += speed * box.period_s
        servo(box, q, box.period_s)


def rest_after(box: UrController, since: float) -> float:
    """Seconds on the twin's clock from `since` until the arm moves no more."""
    last = [m.time for m in box.history if np.max(np.abs(m.dq)) > 0.01]
    return (last[-1] if last else 0.0) - since


def check_watchdog(box: UrController) -> None:
    assert call(box, WATCHDOG, 10.0)
    moving_at(box)
    assert np.max(np.abs(box.history[-1].dq)) > 0.8
    silent_from = box.time
    run(box, 1.0)
    assert not box.playing
    assert rest_after(box, silent_from) <= 0.25


def check_protective_stop(box: UrController) -> None:
    moving_at(box)
    stopped_at = box.time
    box.protective_stop()
    for _ in range(200):
        servo(box, LEFT)
    assert box.safety_mode == SafetyMode.PROTECTIVE_STOP
    assert not box.playing
    assert rest_after(box, stopped_at) <= 0.25


def check_joint_limit(box: UrController) -> None:
    servo(box, (0, -1.57, 3.3, -1.57, -1.57, 0), 0.1)
    assert box.safety_mode == SafetyMode.PROTECTIVE_STOP
    run(box, 1.0)
    assert box.history[-1].q[2] <= find_ur("ur5e").high[2] + 1e-3


def check_speed_slider(box: UrController) -> None:
    box.set_speed_slider(0.3)
    call(box, MOVEJ, *LEFT, 1.0, 5.0)
    assert max(np.max(np.abs(m.dq)) for m in box.history) <= 0.3 * 1.0 + 0.01


class Deaf(ControlScript):
    """Ignores its watchdog."""

    watchdog_s = property(lambda self: np.inf, lambda self, value: None)


class Reckless(UrController):
    """Notes a protective stop and goes on."""

    def protective_stop(self, reason: str = "injected") -> None:
        self.safety_mode = SafetyMode.NORMAL


class Boundless(UrController):
    """Knows no joint limits."""

    def joints_inside(self, q):
        return True

    def protective_stop(self, reason: str = "injected") -> None:
        pass


class Hasty(UrController):
    """Has a slider without effect."""

    def set_speed_slider(self, fraction: float) -> None:
        pass


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        (check_watchdog, lambda: controller(Deaf())),
        (check_protective_stop, lambda: controller(cls=Reckless)),
        (check_joint_limit, lambda: controller(cls=Boundless)),
        (check_speed_slider, lambda: controller(cls=Hasty)),
    ],
)
def test_rule_holds_and_its_check_can_fail(check, broken):
    check(controller())
    with pytest.raises(AssertionError):
        check(broken())


def test_movej_arrives_within_limits_and_reports_done():
    box = controller()
    assert call(box, MOVEJ, *LEFT, 1.0, 2.0)
    assert np.allclose(box.history[-1].q, LEFT, atol=1e-3)
    speeds = np.array([m.dq for m in box.history])
    assert np.max(np.abs(speeds)) <= 1.0 + 0.01
    assert np.max(np.abs(np.diff([m.q[0] for m in box.history]))) <= 1.0 * box.period_s + 1e-3


def test_servoj_stays_ready_and_follows():
    box = controller()
    moving_at(box)
    assert box.outputs["output_int_register_0"] == (1,)
    lag = box.motion.q[0] - box.history[-1].q[0]
    assert 0 <= lag < 0.05
    assert call(box, SERVO_STOP, 10.0)
    assert box.motion.at_rest


def test_without_a_watchdog_speedj_goes_on_for_ever():
    """As on the real controller: ur_rtde's own script has no timeout unless the client sets one."""
    box = controller()
    send(box, SPEEDJ, 0.3, 0, 0, 0, 0, 0, 1.0, 0.0)
    run(box, 3.0)
    assert box.playing
    assert box.history[-1].dq[0] > 0.25
    assert call(box, SPEED_STOP, 10.0)


def test_stop_script_ends_the_program_and_the_motion():
    box = controller()
    moving_at(box)
    send(box, STOP)
    run(box, 0.5)
    assert not box.playing
    assert np.max(np.abs(box.history[-1].dq)) < 0.01


def test_a_command_that_is_not_modelled_ends_the_program_like_a_script_error():
    box = controller()
    send(box, 6)
    run(box, 0.01)
    assert not box.playing
    assert any("command 6" in line for line in box.log)


def test_protective_stop_is_unlocked_by_a_person_only_and_not_within_five_seconds():
    box = controller()
    box.protective_stop()
    assert not box.unlock_protective_stop()
    run(box, 5.1)
    assert box.unlock_protective_stop()
    assert box.safety_mode == SafetyMode.NORMAL
    before = box.history[-1].q
    servo(box, LEFT, 0.5)  # no program runs, so registers move nothing
    assert np.allclose(box.history[-1].q, before, atol=1e-3)


def test_emergency_stop_needs_release_and_power():
    box = controller()
    moving_at(box)
    box.emergency_stop()
    run(box, 0.5)
    assert np.max(np.abs(box.history[-1].dq)) < 0.01
    assert int(box.values()["safety_status_bits"][0]) & (1 << 6)
    box.power_on()
    assert box.robot_mode != 7
    box.release_emergency_stop()
    box.start_program(ControlScript())
    assert not box.playing
    box.power_on()
    box.start_program(ControlScript())
    assert box.playing


def test_nan_target_ends_in_a_protective_stop():
    box = controller()
    servo(box, (math.nan, *LEFT[1:]), 0.1)
    assert box.safety_mode == SafetyMode.PROTECTIVE_STOP
    assert np.all(np.isfinite(box.history[-1].q))


def test_same_seed_same_motion():
    one, two = controller(), controller()
    moving_at(one)
    moving_at(two)
    assert all(np.array_equal(a.q, b.q) for a, b in zip(one.history, two.history, strict=True))


@pytest.mark.parametrize("name", UR_MODELS)
def test_flange_pose_agrees_with_a_product_of_matrices(name: str):
    model = find_ur(name)
    twists = [math.pi / 2, 0, 0, math.pi / 2, -math.pi / 2, 0]
    for q in [*np.random.default_rng(0).uniform(-3, 3, (20, 6)), np.zeros(6), np.array([0, 0, 0, 0, 0, math.pi])]:
        pose = np.eye(4)
        for k in range(6):
            turn, tilt = np.eye(4), np.eye(4)
            turn[:2, :2] = [[math.cos(q[k]), -math.sin(q[k])], [math.sin(q[k]), math.cos(q[k])]]
            tilt[1:3, 1:3] = [[math.cos(twists[k]), -math.sin(twists[k])], [math.sin(twists[k]), math.cos(twists[k])]]
            turn[2, 3], tilt[0, 3] = model.d[k], model.a[k]
            pose = pose @ turn @ tilt
        found = np.array(flange_pose(model, q.tolist()))
        assert np.allclose(found[:3], pose[:3, 3], atol=1e-12)
        rotation = quaternion_to_matrix(quaternion_from_rotation_vector(found[3:]))
        assert np.allclose(rotation, pose[:3, :3], atol=1e-6)


def test_kinematic_arm_keeps_its_limits():
    config = KinematicArmConfig(noise=0.0, max_speed=2.0, max_acceleration=30.0)
    arm = config.build()
    rng, previous = np.random.default_rng(3), np.zeros(6)
    for k in range(2000):
        if k % 100 == 0:
            arm.command(rng.uniform(-3, 3, 6))
        arm.step_to((k + 1) * 0.002)
        _, dq = arm.state()
        assert np.all(np.abs(dq) <= 2.0 + 1e-9)
        assert np.all(np.abs(dq - previous) <= 30.0 * 0.002 + 1e-9)
        previous = dq


def test_kinematic_arm_refuses_what_is_not_finite():
    with pytest.raises(BenchError, match="not finite"):
        KinematicArmConfig().build().command(np.full(6, np.nan))


class SixJoints:
    """The smallest `Robot` with a gripper, moved by the kinematic arm."""

    observation_spec = {"arm.q": ArraySpec((6,)), "arm.dq": ArraySpec((6,))}
    action_spec = {"arm.q_target": ArraySpec((6,)), "gripper.command": ArraySpec((1,), low=-1.0, high=1.0)}

    def __init__(self):
        self.arm, self.time, self.sent = KinematicArm(KinematicArmConfig()), 0.0, {}

    def read(self) -> Reading:
        q, dq = self.arm.state()
        return Reading(self.time, {"arm.q": q, "arm.dq": dq})

    def write(self, action):
        self.sent = action
        self.arm.command(action["arm.q_target"])
        self.time += 0.002
        self.arm.step_to(self.time)
        return action

    def stop(self) -> None:
        pass


def test_any_robot_can_move_behind_the_twin():
    robot = SixJoints()
    box = UrController(find_ur("ur5e"), RobotPhysics(robot, 6))
    box.start_program(ControlScript())
    assert call(box, MOVEJ, *LEFT, 1.0, 2.0)
    assert np.allclose(robot.read().arrays["arm.q"], LEFT, atol=2e-3)
    assert robot.sent["gripper.command"] == 0.0
    with pytest.raises(BenchError, match="7 joints"):
        RobotPhysics(robot, 7)


def test_unknown_model_names_the_closest():
    with pytest.raises(UnknownName, match="Did you mean 'ur5e'"):
        find_ur("ur5ee")


def test_rtde_fields_and_recipes_round_trip():
    assert field_type("actual_q") == "VECTOR6D"
    assert field_type("output_int_register_47") == "INT32"
    assert field_type("actual_torque") == "NOT_FOUND"
    recipe = Recipe(3, ("timestamp", "actual_q", "output_int_register_0", "robot_mode"))
    values = {"timestamp": (1.5,), "actual_q": tuple(range(6)), "robot_mode": (7,)}
    message = recipe.packer()(values)
    assert recipe.unpack(message[4:]) == values | {"output_int_register_0": (0,)}
    with pytest.raises(ConnectionError, match="needs more than"):
        recipe.unpack(message[4:-1])
