"""The decoders of the devices, and what turns a hand into a tool's motion."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robolearn.clock import FakeClock
from robolearn.errors import BenchError, SpecError, StaleReading
from robolearn.geometry import quaternion_from_rotation_vector, quaternion_multiply, rotate
from robolearn.specs import ArraySpec
from teleop.dynamixel_twin import DynamixelTwin, crc16
from teleop.engagement import Engagement, patience_s
from teleop.gamepad import GamepadConfig
from teleop.hand import MARKS
from teleop.keyboard import FakeTerminal, Keyboard, KeyboardConfig
from teleop.leader import LeaderConfig
from teleop.leading import LeaderFollower, Leading
from teleop.mapping import Motion, PoseFollower, TwistFollower, dead_band
from teleop.seeded import SeededHand
from teleop.spacemouse import FakeSpaceMouse, SpaceMouse, SpaceMouseConfig

TOOL = (np.array([0.4, 0.1, 0.3]), np.array([0.0, 1.0, 0.0, 0.0]))


class Line:
    """A terminal that types what it is told and, unless it is cut, says that it is well."""

    def __init__(self):
        self.typed, self.cut, self.written = b"", False, b""

    def write(self, data):
        self.written += data
        if not self.cut:
            self.typed += b"\x1b[0n" * data.count(b"\x1b[5n")

    def read(self):
        out, self.typed = self.typed, b""
        return b"" if self.cut else out

    def close(self):
        self.closed = True


@pytest.fixture
def typing():
    clock, line = FakeClock(5.0), Line()
    keyboard = Keyboard(line, clock, 0.2)

    def read(data=b"", seconds=0.05):
        line.typed += data
        clock.advance(seconds)
        arrays = keyboard.read().arrays
        return arrays["hand.twist"].tolist(), bool(arrays["hand.enable"][0])

    return clock, line, keyboard, read


def test_a_plain_terminal_holds_a_key_a_moment_and_adds_two_up(typing):
    _, _, _, read = typing
    assert read(b"w") == ([1, 0, 0, 0, 0, 0], True)
    assert read(b"a") == ([1, 1, 0, 0, 0, 0], True), "two keys pressed in turn make a diagonal"
    for _ in range(4):
        read()
    assert read(b"") == ([0, 0, 0, 0, 0, 0], False)


def test_the_kitty_protocol_holds_keys_until_they_are_released(typing):
    _, line, _, read = typing
    assert b"\x1b[>11u" in line.written
    read(b"\x1b[?11u")
    assert read(b"\x1b[119;1:1u") == ([1, 0, 0, 0, 0, 0], True)
    for _ in range(20):
        assert read() == ([1, 0, 0, 0, 0, 0], True)
    assert read(b"\x1b[1;1:1A\x1b[97;1:1u")[0] == [1, 1, 0, 0, 0, 0], "an arrow and a letter, clipped to 1"
    assert read(b"\x1b[119;1:3u\x1b[97;1:3u") == ([1, 0, 0, 0, 0, 0], True)
    assert read(b"\x1b[1;1:3A") == ([0, 0, 0, 0, 0, 0], False)


def test_a_sequence_may_come_in_two_pieces(typing):
    _, _, _, read = typing
    read(b"\x1b[?11u")
    assert read(b"\x1b[119;1")[1] is False
    assert read(b":1u")[0][0] == 1


def test_a_terminal_that_answers_nothing_is_gone_whatever_key_is_down(typing):
    clock, line, _keyboard, read = typing
    read(b"\x1b[?11u\x1b[119;1:1u")
    line.cut = True
    left = clock.now()
    for _ in range(4):
        read()
    with pytest.raises(StaleReading, match="the terminal has been silent"):
        read()
    assert clock.now() - left == pytest.approx(0.25)
    line.cut = False
    assert read() == ([0, 0, 0, 0, 0, 0], False), "the key that was down before is not down any more"


def test_space_and_digits_are_the_gripper_and_the_buttons(typing):
    _, _, keyboard, read = typing
    read(b" 1")
    read(b"\x1b[50;1:1u\x1b[50;1:3u")
    arrays = keyboard.read().arrays
    assert arrays["hand.grip"][0] == 1.0
    assert arrays["hand.marks"].tolist() == [1, 1] + [0] * (len(MARKS) - 2)


@pytest.mark.parametrize("data", [b"\x03", b"\x1b[99;5u"])
def test_ctrl_c_is_ctrl_c(typing, data):
    with pytest.raises(KeyboardInterrupt):
        typing[3](data)


@given(st.lists(st.binary(max_size=24), max_size=20))
def test_no_bytes_break_the_keyboard(chunks):
    line = Line()
    keyboard = Keyboard(line, FakeClock(), 0.2)
    for chunk in chunks:
        line.typed += chunk.replace(b"\x03", b"").replace(b"99", b"")
        keyboard.read()


def test_without_a_terminal_the_keyboard_says_so():
    with pytest.raises(BenchError, match="needs a terminal"):
        KeyboardConfig().build(FakeClock())


@pytest.mark.parametrize("kitty", [True, False])
def test_the_typist_types_in_both_kinds_of_terminal(kitty):
    clock = FakeClock()
    keyboard = Keyboard(FakeTerminal(SeededHand(1), clock, kitty=kitty), clock, 0.2)
    seen = set()
    for _ in range(200):
        clock.advance(0.02)
        seen |= {k for k, v in enumerate(keyboard.read().arrays["hand.twist"]) if v}
    assert len(seen) >= 3


# -- SpaceMouse and gamepad --------------------------------------------------------------------------------------


class Reports:
    def __init__(self, *reports):
        self.queue = list(reports)

    def read(self, max_length):
        return list(self.queue.pop(0)) if self.queue else []

    def close(self): ...


def test_reports_of_old_and_new_space_mice_say_the_same():
    push_forward_left_up = (-350, -350, -350)  # the device's right, towards the person, down
    turned = (0, 0, -175)
    import struct

    old = Reports(struct.pack("<B3h", 1, *push_forward_left_up), struct.pack("<B3h", 2, *turned))
    new = Reports(struct.pack("<B6h", 1, *push_forward_left_up, *turned))
    for handle in (old, new):
        arrays = SpaceMouse(handle, FakeClock(), 0.05).read().arrays
        assert arrays["hand.twist"].tolist() == [1, 1, 1, 0, 0, 0.5]
        assert arrays["hand.enable"][0]


def test_a_space_mouse_s_buttons_count_once_per_press():
    device = SpaceMouse(Reports(b"\x03\x01\x00", b"\x03\x03\x00", b"\x03\x03\x00", b"\x03\x00\x00"), FakeClock(), 0.05)
    arrays = device.read().arrays
    assert arrays["hand.grip"][0] == 1.0
    assert arrays["hand.marks"][MARKS.index("start")] == 1
    assert not arrays["hand.enable"][0], "an untouched cap means nothing"


def test_an_unplugged_space_mouse_is_stale_for_good():
    clock = FakeClock()
    hand = SeededHand(0)
    device = SpaceMouse(FakeSpaceMouse(hand, clock), clock, 0.05)
    device.read()
    hand.gone_s = 0.0
    clock.advance(0.02)
    for _ in range(2):
        with pytest.raises(StaleReading, match="gone"):
            device.read()


def test_without_devices_the_real_builders_say_what_to_do():
    pytest.importorskip("hid", reason="hidapi is not installed: pip install -e '.[teleop]'")
    with pytest.raises(BenchError, match=r"no SpaceMouse on USB.*--operator web"):
        SpaceMouseConfig().build(FakeClock())
    pytest.importorskip("pygame", reason="pygame is not installed: pip install -e '.[teleop]'")
    with pytest.raises(BenchError, match=r"no gamepad 0: 0 found"):
        GamepadConfig().build(FakeClock())
    with pytest.raises(BenchError, match=r"serial port '/dev/no-such-port'.*cannot be opened"):
        LeaderConfig(port="/dev/no-such-port").build(FakeClock())


# -- the leader arm ----------------------------------------------------------------------------------------------


def test_the_checksum_is_the_one_of_the_sdk():
    sdk = pytest.importorskip("dynamixel_sdk", reason="dynamixel-sdk is not installed: pip install -e '.[teleop]'")
    handler = sdk.PacketHandler(2.0)
    random = np.random.default_rng(0)
    for size in (1, 7, 40):
        data = random.integers(0, 256, size).tolist()
        assert crc16(bytes(data)) == handler.updateCRC(0, data, size)


def test_the_sdk_reads_what_the_servos_were_bent_to():
    clock, hand = FakeClock(), SeededHand(5)
    start = (0.1, -0.2, 0.3, -2.5, 0.0, 2.3, 0.7)
    config = LeaderConfig(start_rad=start)
    twin = DynamixelTwin(config.motors, config.trigger, start, hand, clock)
    from teleop.leader import LeaderArm

    arm = LeaderArm(config, clock, twin.port, twin)
    try:
        for _ in range(5):
            clock.advance(0.7)
            arrays = arm.read().arrays
            np.testing.assert_allclose(arrays["hand.q"], np.array(start) + hand.at(clock.now()).bend[:7], atol=1e-3)
        assert twin.bad == 0
        with pytest.raises(BenchError, match=r"Servo 42 .* does not answer.*--operator\.baud"):
            LeaderArm(LeaderConfig(motors=(42,), trigger=None), clock, twin.port)
    finally:
        arm.close()
        arm.close()


SPEC = ArraySpec((2,), low=-2.0, high=2.0, names=("shoulder", "elbow"))


def follower(**numbers):
    return LeaderFollower(Leading(**numbers), SPEC, ArraySpec((2,)), 0.05)


def test_the_start_pose_gate_names_the_joint():
    gate = follower()
    assert gate.engage(np.array([0.0, 0.29]), np.zeros(2)) == ""
    assert gate.engage(np.array([0.0, -0.31]), np.zeros(2)).startswith("elbow of the leader is -0.31 rad")
    assert follower(signs=(1.0, -1.0)).engage(np.array([0.0, 1.0]), np.array([0.0, -1.0])) == ""
    with pytest.raises(SpecError, match="equally many"):
        LeaderFollower(Leading(), SPEC, ArraySpec((3,)), 0.05)
    with pytest.raises(SpecError, match="1 or -1"):
        Leading(signs=(0.5, 1.0))


def test_it_approaches_slowly_and_follows_fast_only_when_it_has_caught_up():
    leader, q = np.array([0.25, 0.0]), np.zeros(2)
    gate = follower()
    gate.engage(leader, q)
    speeds = []
    for _ in range(40):
        target = gate.target(leader, q)
        if leader[0] - q[0] > 0.05 + 0.3 * 0.05:
            speeds.append(abs(target[0] - q[0]) / 0.05)
        q = target
    assert len(speeds) > 8
    np.testing.assert_allclose(speeds, 0.3)
    assert q[0] == pytest.approx(0.25)
    target = gate.target(leader + 1.0, q)
    assert (target[0] - q[0]) / 0.05 == pytest.approx(1.5)


@given(arrays(float, 2, elements=st.floats(-10, 10)), arrays(float, 2, elements=st.floats(-2, 2)))
def test_a_leader_s_target_is_always_within_limits_and_reach(leader, q):
    gate = follower()
    gate.engage(leader, q)
    for _ in range(5):
        target = gate.target(leader, q)
        assert np.all(np.abs(target - q) <= 0.2 + 1e-9)


# -- mapping -----------------------------------------------------------------------------------------------------

twists = arrays(float, 6, elements=st.floats(-1, 1))


@given(twists, st.floats(0, 0.9))
def test_the_dead_band_keeps_directions_and_begins_at_zero(twist, band):
    out = dead_band(twist, band)
    for half in (slice(0, 3), slice(3, 6)):
        length = np.linalg.norm(twist[half])
        if length <= band:
            assert not out[half].any()
        else:
            assert np.linalg.norm(out[half]) == pytest.approx(min((length - band) / (1 - band), 1))
            np.testing.assert_allclose(np.cross(out[half], twist[half]), 0, atol=1e-9)


@given(st.lists(twists, min_size=2, max_size=20))
def test_speed_grows_at_the_ramp_s_rate_and_never_beyond_the_largest(hands):
    motion = Motion(ramp_s=0.2)
    follow = TwistFollower(motion, 0.05)
    follow.engage(TOOL)
    before = np.zeros(6)
    for hand in hands:
        delta = follow.displacement(hand, TOOL)
        speed = delta / (motion.lead * 0.05)
        for half, most in ((slice(0, 3), motion.speed_m_s), (slice(3, 6), motion.speed_rad_s)):
            assert np.linalg.norm(speed[half]) <= most * (1 + 1e-9)
            assert np.linalg.norm(speed[half]) - np.linalg.norm(before[half]) <= most * 0.25 + 1e-9
        before = speed
    assert not follow.displacement(np.zeros(6), TOOL).any(), "letting go stops at once"


def test_views_and_frames_turn_the_hand_s_axes():
    forward = np.array([1.0, 0, 0, 0, 0, 0])

    def way(**numbers: Any):
        follow = TwistFollower(Motion(ramp_s=1e-3, **numbers), 0.05)
        follow.engage(TOOL)
        delta = follow.displacement(forward, TOOL)
        return (delta[:3] / np.linalg.norm(delta[:3])).round(6).tolist()

    assert way() == [1, 0, 0]
    assert way(view_yaw_rad=np.pi) == [-1, 0, 0], "a person who faces the robot"
    assert way(view_yaw_rad=np.pi / 2) == [0, 1, 0]
    assert way(frame="tool") == pytest.approx(rotate(TOOL[1], forward[:3]).tolist())


def test_a_clutched_pose_moves_relative_to_the_press_and_scaled():
    follow = PoseFollower(Motion(scale=0.5, speed_m_s=100.0, speed_rad_s=100.0), 0.05)
    follow.engage(TOOL)
    hand = (np.array([7.0, -3.0, 2.0]), quaternion_from_rotation_vector(np.array([0.3, 0.2, 0.1])))
    np.testing.assert_allclose(follow.displacement(hand, TOOL), 0, atol=1e-12)
    turn = np.array([0.0, 0.0, 0.2])
    moved = (hand[0] + [0.1, 0, 0], quaternion_multiply(quaternion_from_rotation_vector(turn), hand[1]))
    delta = follow.displacement(moved, TOOL)
    np.testing.assert_allclose(delta[:3], [0.05, 0, 0], atol=1e-12)
    np.testing.assert_allclose(delta[3:], turn, atol=1e-9)
    follow.engage(TOOL)  # released, moved back in the air, pressed: nothing jumps
    np.testing.assert_allclose(follow.displacement(hand, TOOL), 0, atol=1e-12)


def test_motion_refuses_numbers_that_mean_nothing():
    wrong: list[dict[str, Any]] = [{"speed_m_s": 0.0}, {"ramp_s": float("nan")}, {"dead_band": 1.0}, {"scale": -1.0}]
    for bad in wrong:
        with pytest.raises(SpecError, match=next(iter(bad))):
            Motion(**bad)


# -- the clutch --------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["down", "up", "lose"]), max_size=40))
def test_it_engages_only_by_a_press_after_a_release(words):
    clutch = Engagement()
    released = False
    for word in words:
        before = clutch.engaged
        if word == "lose":
            clutch.lose("a fault")
            released = False
            assert not clutch.engaged
            assert clutch.reason == "a fault; release the clutch and press it again"
            continue
        fresh = clutch.update(word == "down")
        if word == "up":
            released = True
            assert not clutch.engaged
        else:
            assert clutch.engaged == (before or released)
            assert fresh == (clutch.engaged and not before)
            released = released and not clutch.engaged
        assert bool(clutch.reason) == (not clutch.engaged)


def test_slow_loops_are_less_patient_so_that_the_hold_is_always_in_time():
    assert patience_s(0.01) == pytest.approx(0.2)
    assert patience_s(0.05) == pytest.approx(0.16)
    assert patience_s(0.2) == 0.1
    assert all(patience_s(dt) + dt <= 0.21 + 1e-9 for dt in (0.002, 0.01, 0.033, 0.05, 0.1))
