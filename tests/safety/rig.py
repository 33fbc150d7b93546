"""The envelope's bench: a gate before the MuJoCo twin on a simulated clock, a witness between, and a truth of its own.

The witness keeps every command that reaches the driver and checks it against limits that the gate cannot change. Who
may move when is worked out here from what was injected, not from what the gate says about itself.
"""

from typing import Any

import numpy as np

from robolearn.clock import FakeClock
from robolearn.episode import Reading
from robolearn.errors import StaleReading
from robolearn.safety import Limits, SafeRobot
from sim.clearance import ClearanceConfig
from sim.devices import TwinRobotConfig
from sim.robots import UR5E
from sim.twin_world import TwinWorldConfig

DT = 0.008
HOME = np.array(UR5E.home)
SPEED, ACCELERATION, JERK, RANGE = 1.0, 6.0, 300.0, 0.4
BOX_LOW, BOX_HIGH, CLEARANCE = np.array([0.33, -0.16, 0.14]), np.array([0.58, 0.16, 0.42]), 0.03
OPERATOR_S, CAMERA_S, STATE_S, DECISION_S, COMMAND_S, LOST_S = 0.2, 0.2, 0.05, 0.3, 0.05, 1.0
CAP, CAP_S, RAMP_S, START, GAP = 0.3, 0.5, 0.3, 0.25, 0.3
REST_S = SPEED / ACCELERATION + 2 * DT

LIMITS = Limits(
    rate={"arm.q_target": SPEED, "gripper.command": 10.0},
    measured={"arm.q_target": "arm.q"},
    acceleration={"arm.q_target": ACCELERATION},
    jerk={"arm.q_target": JERK},
    low={"arm.q_target": tuple(HOME - RANGE)},
    high={"arm.q_target": tuple(HOME + RANGE)},
    workspace_low=tuple(BOX_LOW),
    workspace_high=tuple(BOX_HIGH),
    clearance_m=CLEARANCE,
    start={"arm.q": tuple(HOME)},
    start_tolerance=START,
    engage_gap=GAP,
    ramp_s=RAMP_S,
    jump=5.0,
    adversary_speed=CAP,
    adversary_hold_s=CAP_S,
    stale_s={
        "command": COMMAND_S,
        "decision": DECISION_S,
        "robot": STATE_S,
        "operator": OPERATOR_S,
        "wrist.rgb": CAMERA_S,
    },
    lost_s=LOST_S,
    dead_man=True,
)


class Witness:
    """A driver that believes nobody."""

    def __init__(self, robot, clock, body):
        self.robot, self.clock, self.body = robot, clock, body
        self.observation_spec, self.action_spec = robot.observation_spec, robot.action_spec
        self.frozen: Reading | None = None
        self.stops = 0
        self.forget()

    def forget(self):
        """No command has come yet."""
        self.time = -np.inf
        self.q, self.v, self.a = np.zeros(6), np.zeros(6), np.zeros(6)
        self.moved = False

    def read(self):
        if self.frozen is not None:
            if self.clock.now() - self.frozen.time > 0.5:
                raise StaleReading("the controller says nothing new")
            return self.frozen
        return self.robot.read()

    def write(self, action):
        q, now = action["arm.q_target"], self.clock.now()
        assert np.all(np.isfinite([*q, *action["gripper.command"]])), "finite"
        assert np.all(np.abs(q - HOME) <= RANGE + 1e-6), "range"
        tool, near = self.body.tool(q), self.body.clearance(q)
        assert np.all((tool >= BOX_LOW - 1e-3) & (tool <= BOX_HIGH + 1e-3)), f"workspace: {tool}"
        assert near >= CLEARANCE - 1e-3, f"clearance: {near}"
        dt = now - self.time
        if dt > COMMAND_S:  # it begins anew: where the arm is, at rest
            self.v, self.a = np.zeros(6), np.zeros(6)
            assert np.abs(q - self.robot.read().arrays["arm.q"]).max() <= SPEED * DT, "a jump when it begins"
        elif dt > 1e-9:
            v = (q - self.q) / dt
            a = (v - self.v) / dt
            self.moved = bool(np.any(np.abs(v) > np.maximum(np.abs(self.v), 0) + 1e-6))
            assert np.all(np.abs(v) <= SPEED * (1 + 1e-5)), f"speed: {np.abs(v).max()}"
            assert np.all(np.abs(a) <= ACCELERATION * (1 + 1e-5)), f"acceleration: {np.abs(a).max()}"
            braking = np.abs(v) <= np.abs(self.v) + 1e-6
            assert np.all(braking | (np.abs(a - self.a) <= JERK * dt * (1 + 1e-5))), "jerk"
            self.v, self.a = v, a
        self.q, self.time = q.copy(), now
        return self.robot.write(action)

    def stop(self):
        self.stops += 1
        self.forget()
        self.robot.stop()


class Bench:
    """Everything that can go wrong, and what must follow from it."""

    world: Any = None

    def __init__(self, gate=SafeRobot, limits=LIMITS):
        self.clock = FakeClock(100.0)
        if Bench.world is None:
            Bench.world = TwinWorldConfig(task="reach", robot="ur5e").build(self.clock)
            Bench.body = ClearanceConfig("ur5e").build()
        world = Bench.world
        world.clock = self.clock
        world.reset(0)
        for joint, value in zip(UR5E.joints, HOME, strict=True):
            world.data.qpos[world.model.joint(joint).qposadr[0]] = value
        world.data.ctrl[:6] = HOME
        self.witness = Witness(TwinRobotConfig().build(world=world), self.clock, Bench.body)
        self.gate = gate(self.witness, limits, self.clock, body=ClearanceConfig("ur5e").build())
        self.target = HOME.copy()
        self.beats, self.pressed, self.camera, self.sequence = True, False, True, 0
        self.beat_time = self.frame_time = -np.inf
        self.state_time = self.clock.now()
        self.armed, self.released, self.bad = False, False, ""
        self.forbidden_since: float | None = self.clock.now()
        self.disturbed = self.undisturbed_speed = -np.inf
        self.engaged = -np.inf
        self.events = []
        self.periods = 0
        self.world_time = world.time

    # What goes on.

    def tick(self, command: Any = "target", gripper=-1.0, made=None):
        """One robot period: a sign of life, a frame, a reading, a command or none, and every invariant."""
        self.clock.sleep_until(self.clock.now() + DT)
        now = self.clock.now()
        if self.beats:
            self.beat(now)
        if self.camera:
            self.frame_time = now
            self.gate.seen("wrist.rgb", now)
        if self.witness.frozen is None:
            self.state_time = now
            self.gate.read()
        self.judge(now, made)
        self.witness.moved = False
        if isinstance(command, str):
            command = self.target if command == "target" else None
        if command is None:
            self.gate.idle("nothing comes")
        else:
            self.gate.write({"arm.q_target": command, "gripper.command": np.array([gripper])}, made=made or now)
        self.check(now)

    def beat(self, now):
        self.sequence += 1
        if now - self.beat_time > OPERATOR_S:
            self.released = self.armed = False
        self.beat_time = now
        self.gate.beat("ann", self.pressed, self.sequence)
        self.released |= not self.pressed
        self.armed = self.pressed and self.released and not self.bad

    def judge(self, now, made):
        """Whether the arm may move now, from the truth."""
        lapsed = now - self.beat_time > OPERATOR_S
        if lapsed:
            self.released = self.armed = False
        late = now - self.frame_time > CAMERA_S or now - self.state_time > STATE_S
        late |= made is not None and now - made > DECISION_S
        if self.armed and not self.bad and not late:
            self.forbidden_since = None
        elif self.forbidden_since is None:
            self.forbidden_since = now

    def check(self, now):
        self.periods += 1
        gate, world, witness = self.gate, Bench.world, self.witness
        happened = gate.events()
        self.events += happened
        for event in happened:
            if event.kind == "gate.engage":
                assert self.armed, "engaged without a fresh press"
                self.engaged = now
            if event.kind == "gate.fault":
                self.fail(event.reason)
        if self.forbidden_since is not None:
            since = now - self.forbidden_since
            assert not witness.moved, f"faster while it must not move: {gate.reason}"
            if since > REST_S:
                assert not np.any(witness.v), f"still moving {since:.3f} s after it must not"
            if since > 0.7:
                dq = world.data.qvel[witness.robot._speeds]
                assert np.abs(dq).max() < 0.02, f"the arm itself moves: {dq}"
        settled = now - self.disturbed > (1 - CAP) * SPEED / ACCELERATION + 2 * ACCELERATION / JERK + 2 * DT
        if settled and now - self.disturbed < CAP_S - DT:
            assert np.all(np.abs(witness.v) <= CAP * SPEED * (1 + 1e-5)), "speed while an adversary acts"
        if now - self.engaged < RAMP_S:
            allowed = SPEED * (0.1 + 0.9 * (now - self.engaged) / RAMP_S)
            assert np.all(np.abs(witness.v) <= allowed * (1 + 1e-5)), "ramp"
        world.advance()
        assert not np.any(world.data.warning.number), "MuJoCo warned"
        assert world.time >= self.world_time, "time went back"
        self.world_time = world.time
        assert np.all(np.isfinite(world.data.qpos))

    # What people do.

    def press(self):
        self.pressed = True

    def release(self):
        self.pressed = False

    def fail(self, why):
        """From now on, until somebody clears it, nothing may move."""
        self.bad = self.bad or why
        self.armed = self.released = False
        if self.forbidden_since is None:
            self.forbidden_since = self.clock.now()

    def clear(self):
        self.gate.clear("ann")
        self.bad = ""
        self.armed = self.released = False

    def emergency_stop(self, role):
        self.fail(f"emergency stop of {role}")
        self.gate.emergency_stop(role)

    def disturb(self):
        self.disturbed = self.clock.now()
        self.gate.disturb()

    def measured(self):
        return self.witness.robot.read().arrays["arm.q"]

    def engage(self):
        """Acknowledge, release, press, stay until it follows."""
        self.clear()
        self.beats = self.camera = True
        self.witness.frozen = None
        self.release()
        for _ in range(3):
            self.tick(command=None)
        self.target = np.clip(self.measured(), HOME - RANGE, HOME + RANGE)
        self.press()
        for _ in range(3):
            self.tick()

    def go(self, goal, ticks, speed=0.9 * SPEED, **options):
        """Lead the target towards a goal."""
        for _ in range(ticks):
            step = np.clip(np.asarray(goal) - self.target, -speed * DT, speed * DT)
            self.target = self.target + step
            self.tick(**options)
