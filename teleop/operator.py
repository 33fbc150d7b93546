"""A person at a device is a policy: the device is read, the clutch decides, the mapping turns hand into tool.

The policy never waits for the person. While nobody holds the clutch, or the device has gone silent, it asks for a hold
(a zero displacement, or the joints where the arm was measured) and says so in its notes:

    note.engaged  (n,) bool   the person means it: `compose.Intervene` takes over in these rows
    note.keeps    (n,) bool   they have not let go on purpose since they engaged: nobody else may move the arm yet
    note.actor    (n,) int8   `Actor.OPERATOR`
    note.outcome  (n,) int8   an `Outcome` once the person has ended the episode with a button

One device drives one row, so `n` is 1. A tool's motion needs an environment with "arm.delta" and the tool's measured
pose; a leader arm needs "arm.q_target" and "arm.q".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import Env, Observer, Policy, TeleopDevice
from robolearn.episode import Actor, Outcome
from robolearn.errors import SpecError, StaleReading
from robolearn.specs import Array, Arrays, Spec, bounds, select
from teleop.engagement import HEARTBEAT_S, Engagement, patience_s
from teleop.hand import MARKS
from teleop.leading import LeaderFollower, Leading
from teleop.mapping import Motion, PoseFollower, TwistFollower

__all__ = ["HandConfig", "Operated"]

ENDS = {"stop": Outcome.TIMEOUT, "success": Outcome.SUCCESS, "failure": Outcome.FAILURE, "rerecord": Outcome.ABORTED}
"""What the buttons that end an episode propose."""
TOOL = ("tool.position", "tool.quaternion")


@dataclass(frozen=True, slots=True)
class HandConfig(ABC):
    """What every device can be told; a device's own config adds its fields and `build`."""

    motion: Motion = field(default_factory=Motion)
    """How its motion becomes the tool's."""
    fake: bool = False
    """Use the seeded fake of the device instead of the device."""
    seed: int = 0
    """Seed of the fake's hand."""

    @abstractmethod
    def build(self, clock: Clock) -> TeleopDevice:
        """The device; its vendor's package is imported here and not before."""

    def operator(self, env: Env, clock: Clock) -> Policy:
        """The person at this device as a policy for an environment of one row."""
        return Operated(self.build(clock), env, clock, self.motion)


class Operated:
    """The policy. Make it with a device config's `operator`.

    Args:
        device: What the person holds.
        env: What is driven; only its specs and its task's rate are used.
        clock: The clock of the device's readings.
        motion: How the hand's motion becomes the tool's.
        leading: The same for a leader arm.

    Raises:
        SpecError: The device and the environment do not fit; the message says what would.
    """

    def __init__(
        self, device: TeleopDevice, env: Env, clock: Clock, motion: Motion | None = None, leading: Leading | None = None
    ):
        if env.n != 1:
            raise SpecError(f"One person drives one row; the environment has {env.n}. Build it with n = 1.")
        self.device, self._clock = device, clock
        self.engagement = Engagement()
        self._action_spec = env.action_spec
        self._grip = "gripper.command" in env.action_spec
        arm = [name for name in env.action_spec if name != "gripper.command"]
        wanted = "arm.q_target" if "hand.q" in device.spec else "arm.delta"
        if arm != [wanted]:
            cure = "a leader arm drives joints" if wanted == "arm.q_target" else "this device drives the tool"
            raise SpecError(
                f"The device gives {sorted(device.spec)}, so {cure} and needs the action {wanted!r}; the environment "
                f"takes {sorted(env.action_spec)}. Choose the other command of the bench or the other device."
            )
        period_s = 1.0 / env.task.rate_hz
        self._patience_s = patience_s(period_s)
        self._follower: TwistFollower | PoseFollower | LeaderFollower
        if wanted == "arm.q_target":
            names = ("arm.q",)
            self._follower = LeaderFollower(
                leading or Leading(), env.action_spec[wanted], device.spec["hand.q"], period_s
            )
        else:
            names = TOOL
            kind = PoseFollower if "hand.position" in device.spec else TwistFollower
            self._follower = kind(motion or Motion(), period_s)
        self._arm = wanted
        self._observation_spec: Spec = select(env.observation_spec, names)
        self._closed = np.array([-1.0])
        self._marks: Array | None = None
        self._acted = -np.inf
        self._hold: Array | None = None
        self._keeps = False
        self.observers: list[Observer] = []
        """Who has to see every step of the loop in which the person acts, such as the pages of a console."""
        self.pressed: list[str] = []
        """Episode buttons pressed since the last look, for a console; take them out."""

    @property
    def observation_spec(self) -> Spec:
        return self._observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self.lose("a new episode begins")
        self._acted = -np.inf  # the gripper keeps its command: an object in it is not dropped

    def lose(self, reason: str) -> None:
        """Hold now, until the person has released and pressed the clutch."""
        self.engagement.lose(reason)
        self._hold = None

    def act(self, observation: Arrays) -> Arrays:
        now = self._clock.now()
        if now - self._acted > HEARTBEAT_S and self._acted > -np.inf:
            self.lose(f"the control loop stalled for {now - self._acted:.2f} s")
        self._acted = now
        outcome, command = Outcome.RUNNING, None
        try:
            reading = self.device.read()
        except StaleReading as error:
            self.lose(str(error))
        else:
            outcome = self._buttons(reading.arrays)
            silent_s = now - float(reading.time)
            if silent_s > self._patience_s + 1e-9:
                self.lose(f"the person has been silent for {silent_s:.2f} s")
            else:
                command = self._moved(reading.arrays, observation)
        if command is None:
            command = self._still(observation)
        else:
            self._hold = None
        action: dict[str, Array] = {self._arm: command[None]}
        if self._grip:
            action["gripper.command"] = self._closed[None].copy()
        return action | {
            "note.engaged": np.array([self.engagement.engaged]),
            "note.keeps": np.array([self._keeps]),
            "note.actor": np.array([Actor.OPERATOR], np.int8),
            "note.outcome": np.array([outcome], np.int8),
        }

    @property
    def url(self) -> str:
        """Where the person finds the device, "" when it is at hand."""
        return str(getattr(self.device, "url", ""))

    def on_stop(self, call: Callable[[str], None]) -> None:
        """What to call, from whatever thread, with the name of somebody who says stop at the device (a page's STOP)."""
        tell = getattr(self.device, "on_stop", None)
        if tell is not None:
            tell(call)

    def close(self) -> None:
        """Give the device back; safe to call twice."""
        close = getattr(self.device, "close", None)
        if close is not None:
            close()

    def _moved(self, hand: Arrays, observation: Arrays) -> Array | None:
        """The arm's command while the person holds the clutch, else None."""
        measured = tuple(observation[name][0] for name in self._observation_spec)
        follower = self._follower
        pressed = bool(hand["hand.enable"][0])
        fresh = self.engagement.update(pressed)
        self._keeps = pressed and (self._keeps or self.engagement.engaged)  # only a released clutch lets go
        if not self.engagement.engaged:
            return None
        if isinstance(follower, LeaderFollower):
            if fresh and (refusal := follower.engage(hand["hand.q"], measured[0])):
                self.lose(refusal)
                return None
            command = follower.target(hand["hand.q"], measured[0])
        else:
            tool = (measured[0], measured[1])
            if fresh:
                follower.engage(tool)
            if isinstance(follower, PoseFollower):
                command = follower.displacement((hand["hand.position"], hand["hand.quaternion"]), tool)
            else:
                command = follower.displacement(hand["hand.twist"], tool)
            command = np.clip(command, *bounds(self._action_spec[self._arm]))
        self._closed = np.clip(hand["hand.grip"], -1.0, 1.0)
        return command

    def _still(self, observation: Arrays) -> Array:
        if self._arm == "arm.delta":
            return np.zeros(6)
        hold = self._hold if self._hold is not None else observation["arm.q"][0].copy()
        self._hold = hold
        return hold

    def _buttons(self, hand: Arrays) -> Outcome:
        counts = hand["hand.marks"]
        before, self._marks = self._marks, counts
        if before is None:
            return Outcome.RUNNING
        new = [name for name, more in zip(MARKS, counts - before, strict=True) if more > 0]
        self.pressed += new
        return next((ENDS[name] for name in new if name in ENDS), Outcome.RUNNING)
