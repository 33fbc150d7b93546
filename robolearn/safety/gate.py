"""The one gate every command passes on its way to a driver.

`SafeRobot` wraps any `Robot`; its `Line` is the only place that calls a driver's `write`. Checks read "refuse unless
provably inside". Three things stop the arm: a *pause* (something is late; it goes on by itself when that is fresh
again), a *hold* (nobody presses the enabling switch; it takes a release and a press), a *fault* (latched with its
reason; only `clear` by a person ends it, then the switch). It always stops where it is and never drives anywhere by
itself. What is decided here is only who stops whom and when; `senses` knows how old everything is, `rules` judge one
moment, `motion` and `body` bend a command, `line` sends it.

With acceleration limits a command is sent only if afterwards the arm could still brake to rest inside all limits; if
not it brakes now, which the check of the command before has shown to be possible.
"""

from __future__ import annotations

import threading
from enum import IntEnum

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import Robot
from robolearn.episode import Event, Reading
from robolearn.errors import SafetyFault, SpecError
from robolearn.safety import rules
from robolearn.safety.body import ARM, Body, Space
from robolearn.safety.journal import Journal
from robolearn.safety.layout import Layout
from robolearn.safety.limits import COMMAND, OPERATOR, ROBOT, Limits
from robolearn.safety.line import DRIVER_ERRORS, DriverFault, Line
from robolearn.safety.motion import Caps, SetPoint, brake, braking_path, follow
from robolearn.safety.senses import Senses
from robolearn.safety.watch import Operator
from robolearn.specs import Array, Arrays, Spec, check

__all__ = ["GateState", "SafeRobot"]

BRAKE_S = 0.025
"""The gate brakes by commands of its own when they come at least this often; else it leaves braking to the driver."""
_HUGE = 1e6


class GateState(IntEnum):
    """What commands do."""

    HOLD = 0
    ACTIVE = 1
    FAULT = 2


class SafeRobot:
    """A `Robot` that cannot be given a bad command. All methods may be called from any thread.

    Args:
        robot: The driver. Its action spec must have finite `low` and `high` for every array.
        limits: How it may move and how old what is known may be.
        clock: The clock of commands and readings.
        body: The arm's shape; needed for limits of space.

    Raises:
        SafetyFault: On construction, when a limit is missing or does not fit the robot: it refuses to arm.
    """

    def __init__(self, robot: Robot, limits: Limits, clock: Clock, *, body: Body | None = None):
        limits.require_fit(robot.observation_spec, robot.action_spec)
        self.limits, self._robot, self._clock = limits, robot, clock
        self._space = Space(body, limits)
        if self._space.limited and ARM not in robot.action_spec:
            raise SafetyFault(f"Limits of space need the action {ARM!r}; the robot has {sorted(robot.action_spec)}.")
        self.layout = Layout(limits, robot.action_spec)
        self._caps = self.layout.caps
        self._smooth = bool(np.any(np.isfinite(self._caps.acceleration)))
        self._operator = Operator(limits.stale_s.get(OPERATOR, np.inf))
        self._lock = threading.RLock()
        self._journal = Journal()
        self._line = Line(robot, self.layout, clock, self._journal)
        self._senses = Senses(robot, limits, clock)
        self.state, self.fault, self.reason = GateState.HOLD, "", ""
        self._emergency = ""
        self._target: Array | None = None
        self._aimed_at = clock.now()
        self._paused_since: float | None = None
        self._braking = self._blocked = False
        self._sequence = -1
        self._engaged_at, self._ramp_from, self._disturbed_until = clock.now(), clock.now(), -np.inf
        self._starting = False

    @property
    def observation_spec(self) -> Spec:
        return self._robot.observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._robot.action_spec

    def read(self) -> Reading:
        return self._senses.read()

    def write(self, action: Arrays, *, made: float | None = None, sequence: int | None = None) -> Arrays:
        """Send a command inside all limits and return what was sent.

        A command that is not finite or has the wrong shape stops the arm in this tick and latches `fault`; until
        `clear`, every command is answered by the last one that was sent.

        Args:
            action: Where to go.
            made: Capture time of the observation it answers, on the gate's clock.
            sequence: Its number; one that is not above the last is ignored.

        Raises:
            SafetyFault: A command was refused before any was ever sent, so there is nothing to hold to.
        """
        with self._lock:
            now = self._clock.now()
            if self._emergency and not self.fault:
                self._latch(self._emergency, now)
            if not self.fault:
                try:
                    check(action, self.action_spec, where="command")
                except (SpecError, TypeError, ValueError) as error:
                    self._latch(str(error), now)
            if self.fault:
                return self._halt(now)
            if sequence is not None:
                if sequence <= self._sequence:
                    self._journal.tell("gate.ignore", now, f"command {sequence} came after {self._sequence}")
                    return self._answer()
                self._sequence = sequence
            if self.limits.dead_man and (why := self._operator.why_not(now)):
                return self._hold(why, now)
            if self._braking:  # pressed again before the arm came to rest
                return self._halt(now)
            if why := self._why_late(now, made):
                return self._pause(why, now)
            return self._move(self.layout.flat(action), now)

    def idle(self, reason: str) -> Arrays:
        """One period without a command: the arm comes to rest and goes on by itself with the next command."""
        with self._lock:
            now = self._clock.now()
            if self._emergency and not self.fault:
                self._latch(self._emergency, now)
            if self.fault:
                return self._halt(now)
            if self.limits.dead_man and (why := self._operator.why_not(now)):
                return self._hold(why, now)
            return self._pause(reason, now) if self._line.point is not None else self._answer()

    def held(self) -> Arrays:
        """What holds now: the last command, or before any was sent where the arm is."""
        with self._lock:
            return self._answer()

    def stop(self) -> None:
        """Let the driver brake and hold; the next command starts from where the arm is measured then."""
        self._robot.stop()
        with self._lock:
            self._rest()

    def emergency_stop(self, by: str = "somebody") -> None:
        """Stop now, from any thread and for any role, without waiting for a command under way; latches."""
        self._emergency = f"{by} pressed the emergency stop"
        self._line.stop()
        if self._lock.acquire(timeout=0.1):  # else a command hangs in the driver: the next one finds the stop
            try:
                if not self.fault:
                    self._latch(self._emergency, self._clock.now())
            finally:
                self._lock.release()

    def trip(self, reason: str) -> None:
        """Latch a fault that somebody else has seen, such as a recorder that cannot write any more."""
        with self._lock:
            if not self.fault:
                self._latch(reason, self._clock.now())

    def clear(self, by: str = "") -> None:
        """Acknowledge the fault; the next command starts from where the arm is measured to be.

        With an enabling switch it takes a release and a press after this.
        """
        with self._lock:
            now = self._clock.now()
            if self.fault:
                self._journal.tell("gate.clear", now, self.fault, by=by)
            if self._line.point is not None and not self._line.point.at_rest:
                self._line.stop()
            self.fault = self.reason = self._emergency = ""
            self.state, self._paused_since = GateState.HOLD, None
            self._operator.revoke()
            self._rest()

    def beat(self, by: str, pressed: bool, sequence: int, sent_s: float | None = None) -> None:
        """A sign of life of an operator and the enabling switch; see `robolearn.safety.watch`."""
        with self._lock:
            now = self._clock.now()
            why = self._operator.beat(by, pressed, sequence, now, sent_s)
            if why:
                self._journal.tell("gate.ignore", now, why, by=by)
            else:
                self._senses.heard(OPERATOR, now)

    def seen(self, stream: str, time: float) -> None:
        """A camera's frame captured at `time` has arrived."""
        self._senses.heard(stream, time)

    def disturb(self) -> None:
        """An adversary acts now: slower for a while, when the limits say so."""
        with self._lock:
            self._disturbed_until = self._clock.now() + (self.limits.adversary_hold_s or 0.0)

    def begin(self) -> None:
        """An episode begins: the next command must find the arm at the start pose, when the limits give one."""
        with self._lock:
            self._starting = True
            self._sequence = -1
            self._line.forget()  # what was held in the last episode says nothing about where the arm is now

    def events(self) -> list[Event]:
        """What the gate did since the last call."""
        with self._lock:
            return self._journal.take()

    # From here on the lock is held.

    def _move(self, target: Array, now: float) -> Arrays:
        line = self._line
        since = now - line.time
        if line.point is not None and (limit := self.limits.stale_s.get(COMMAND)) is not None and not since <= limit:
            # The world went on meanwhile: no burst to catch up, begin again from where the arm is.
            self._journal.tell(
                "gate.pause", now, f"{COMMAND!r}: none came for {since:.3f} s; at most {limit} s are allowed"
            )
            self._paused_since, self.reason = line.time, "commands came too late"
            self._rest()
            since = 0.0
        if line.point is None and now < line.settled_at:
            return self._answer()  # the driver still brakes
        if line.point is None and (refused := self._engage(target, now)) is not None:
            return refused
        point = line.point
        assert point is not None
        if self._paused_since is not None:
            self._journal.tell("gate.resume", now, self.reason)
            self._paused_since, self.reason = None, ""
        between = now - self._aimed_at
        if (why := self._why_jump(target, between)) and self._engaged_at < now:
            self._latch(why, now)
            return self._halt(now)
        before = target if self._target is None else self._target
        self._target, self._aimed_at = target, now
        if since <= 0 or (self._engaged_at == now and (self._smooth or COMMAND in self.limits.stale_s)):
            # No time has passed, or how often commands come is not known yet: stay.
            return self._send(point, now)
        caps = self._caps._replace(speed=self._caps.speed * self._pace(now))
        target = np.clip(target, -_HUGE, _HUGE)  # so that differences stay numbers
        speed = (target - np.clip(before, -_HUGE, _HUGE)) / max(between, since)
        wanted = follow(point, target, speed, caps, since)
        self._journal.explain(point, target, wanted, caps, since, now)
        return self._send(self._guard(point, wanted, caps, since, now), now)

    def _engage(self, target: Array, now: float) -> Arrays | None:
        """Take the measured posture as the first set point; what was refused otherwise."""
        try:
            measured = self._senses.fresh(now).arrays
        except DRIVER_ERRORS as error:
            return self._pause(f"{ROBOT!r}: {error}", now)
        limits = self.limits
        if self._starting and (why := rules.why_not_at_start(limits, self.observation_spec, measured)):
            return self._refuse(why, now)
        q = self._senses.measured(np.clip(target, self._caps.low, self._caps.high), self.layout.slices)
        if why := rules.why_far_off(limits, self.action_spec, self.layout, target, q):
            return self._refuse(why, now)
        if not np.all(np.isfinite(q)):
            self._latch("the arm measures positions that are not finite", now)
            return self._halt(now)
        self._line.take_up(q)
        paused, self._paused_since = self._paused_since, None
        brief = paused is not None and now - paused <= (limits.ramp_s or 0.0)
        if brief and self.state is GateState.ACTIVE and not self._starting:
            # A short pause, in which the driver braked: slow from the beginning again would only let it fall behind.
            self._journal.tell("gate.resume", now, self.reason)
        else:
            self._ramp_from = now
            self._journal.tell("gate.engage", now, "")
        self._engaged_at, self._target, self._starting, self._blocked = now, None, False, False
        self.state, self.reason = GateState.ACTIVE, ""
        return None

    def _guard(self, point: SetPoint, wanted: SetPoint, caps: Caps, dt: float, now: float) -> SetPoint:
        """`wanted`, or one period of braking when after it the arm could no longer stop with enough room."""
        if not self._space.limited:
            return wanted
        arm = self.layout.slices[ARM]
        here = min(0.0, self._space.room(point.q[arm]))  # outside already: anything that is no worse
        if self._blocked and point.at_rest:
            # Until the command itself leads to where there is room: no creeping up to a wall.
            self._blocked = self._space.room(np.asarray(self._target)[arm]) < here
        if not self._blocked:
            path = np.concatenate([wanted.q[None], braking_path(wanted, caps, dt, 3)])[:, arm]
            self._blocked = not self._space.least(path) >= here
            if self._blocked:
                self._journal.limit("space", now, "the arm would leave its workspace or come too near to something")
        return brake(point, caps, dt) if self._blocked else wanted

    def _send(self, point: SetPoint, now: float) -> Arrays:
        try:
            sent = self._line.send(point, now)
        except DriverFault as fault:  # a driver that cannot be trusted with commands is left to its own stop
            self._latch(str(fault), now)
            self._braking = False
            return self._halt(now)
        if self._emergency:
            self._line.stop()  # it was pressed while the command was under way
        return sent

    def _pause(self, why: str, now: float) -> Arrays:
        if self._paused_since is None:
            self._paused_since, self.reason = now, why
            self._journal.tell("gate.pause", now, why)
        lost = self.limits.lost_s
        if lost is not None and self.state is GateState.ACTIVE and now - self._paused_since > lost:
            self._latch(f"{why}; it stayed so for more than {lost} s", now)
            return self._halt(now)
        point, since = self._line.point, now - self._line.time
        if point is None:
            return self._answer()
        if not self._smooth or not 0 < since <= BRAKE_S:
            self._line.stop()
            self._rest()
            return self._answer()
        return self._send(brake(point, self._caps, since), now)

    def _hold(self, why: str, now: float) -> Arrays:
        if self.state is GateState.ACTIVE:
            self.state = GateState.HOLD
            self._braking = True
            self._journal.tell("gate.hold", now, why)
            self.reason = ""
        self.reason = self.reason or why
        return self._halt(now)

    def _refuse(self, why: str, now: float) -> Arrays:
        """Do not engage: with an enabling switch try again with a new press, without one it takes a person to clear."""
        if not self.limits.dead_man:
            self._latch(f"refusing to engage: {why}", now)
            return self._halt(now)
        self._operator.revoke()
        self.reason = f"refusing to engage: {why}"
        self._journal.tell("gate.refuse", now, why)
        return self._answer()

    def _latch(self, why: str, now: float) -> None:
        self.fault = self.reason = why
        self.state, self._braking = GateState.FAULT, True
        self._operator.revoke()
        self._journal.tell("gate.fault", now, why)

    def _halt(self, now: float) -> Arrays:
        """One period of coming to rest, by commands where they are frequent enough, else by the driver's stop."""
        line, since = self._line, now - self._line.time
        point = line.point
        if self._braking and point is not None and self._smooth and not self._emergency and not point.at_rest:
            if 0 < since <= BRAKE_S:
                return self._send(brake(point, self._caps, since), now)
            if since <= 0 and line.period_s <= BRAKE_S:
                return self._answer()
        if self._braking or point is not None:
            line.stop()
            self._rest()
        if not line.begun and self.fault:
            raise SafetyFault(f"The first command was refused and the arm is stopped. {self.fault}")
        return self._answer()

    def _rest(self) -> None:
        self._line.rest()
        self._target = None
        self._braking = self._blocked = False

    def _answer(self) -> Arrays:
        """What holds now: the last command, or before any was sent the posture and the middle of other ranges."""
        middle = np.clip(0.0, self._caps.low, self._caps.high)
        return self._line.held(self._senses.measured(middle, self.layout.slices))

    def _why_late(self, now: float, made: float | None) -> str:
        return self._senses.why_late(now, made, moving=self._line.point is not None)

    def _why_jump(self, target: Array, since: float) -> str:
        return rules.why_jump(self.limits, self.layout, self._caps.speed, self._target, target, since)

    def _pace(self, now: float) -> float:
        return rules.allowed_pace(self.limits, now, self._ramp_from, self._disturbed_until)
