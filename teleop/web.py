"""A person at the console's page: keys, a mouse, touch pads, or a phone that is moved through the air (WebXR).

The page sends its hand at 50 Hz over the console's WebSocket; that stream is the heartbeat. "web" reads deflections
(keyboard of the browser, touch pads), "phone" reads a pose: the phone's own in WebXR, or what the touch pads have added
up to. Several people may have a page open; whose hand counts is the console's lease.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from robolearn.clock import Clock
from robolearn.contracts import Env, Policy
from robolearn.episode import Reading
from robolearn.specs import Spec
from teleop.console.console import Console, ConsoleConfig
from teleop.console.desk import Desk, Hand
from teleop.console.onlooker import Onlooker
from teleop.hand import pose_spec, twist_spec
from teleop.operator import HandConfig, Operated
from teleop.seeded import SeededHand

__all__ = ["FakePage", "PhoneConfig", "WebConfig", "WebHand"]


@dataclass(frozen=True, slots=True)
class WebConfig(HandConfig):
    """The browser's keyboard, mouse or touch pads, at the console's page."""

    serving: ConsoleConfig = field(default_factory=ConsoleConfig)
    """Where the page is served, when no console is handed to `build`."""

    def build(self, clock: Clock, console: Console | None = None) -> WebHand:
        """The device; with `fake`, a seeded page sits at a desk of its own and no server runs.

        Args:
            clock: Time of the desk.
            console: The console whose page it is; None starts one.

        Raises:
            MissingDependency: FastAPI, uvicorn or websockets is not installed.
            BenchError: The port is taken, or another address than loopback without a token and TLS.
        """
        return self._device(clock, console, pose=False)

    def operator(self, env: Env, clock: Clock, console: Console | None = None) -> Policy:
        """The person at the page as a policy; pages of a console of its own are shown what the loop does."""
        hand = self.build(clock, console)
        operated = Operated(hand, env, clock, self.motion)
        if hand.console is not None:
            kind = "phone" if "hand.position" in hand.spec else "web"
            operated.observers.append(Onlooker(hand.console, operated.engagement, kind))
        return operated

    def console(self, clock: Clock) -> Console:
        """A console that serves the pages, not started yet."""
        return self.serving.build(clock)

    def _device(self, clock: Clock, console: Console | None, *, pose: bool) -> WebHand:
        if self.fake:
            desk = Desk(clock)
            return WebHand(desk, pose=pose, page=FakePage(SeededHand(self.seed, clock.now()), desk))
        if console is not None:
            return WebHand(console.desk, pose=pose)
        own = self.console(clock)
        own.start()
        return WebHand(own.desk, pose=pose, console=own)


@dataclass(frozen=True, slots=True)
class PhoneConfig(WebConfig):
    """A phone that is moved through the air while its pad is pressed, or its touch pads."""

    def build(self, clock: Clock, console: Console | None = None) -> WebHand:
        """The device; see `WebConfig.build`."""
        return self._device(clock, console, pose=True)


class WebHand:
    """A `TeleopDevice`. Build it with `WebConfig` or `PhoneConfig`.

    Attributes:
        console: The console that was started for it, None when it is somebody else's.
    """

    def __init__(self, desk: Desk, *, pose: bool, console: Console | None = None, page: FakePage | None = None):
        self.desk, self._pose, self.console, self._page = desk, pose, console, page
        self._spec = pose_spec() if pose else twist_spec()

    @property
    def spec(self) -> Spec:
        return self._spec

    def read(self) -> Reading:
        if self._page is not None:
            self._page.beat()
        reading = self.desk.read_hand()
        return replace_arrays(reading, self._spec)

    @property
    def url(self) -> str:
        """Where its page is served, "" when the console is somebody else's."""
        return "" if self.console is None else f"{self.console.url}operator"

    def on_stop(self, call: Callable[[str], None]) -> None:
        """What to call, from a thread of the server, when anybody at a page says stop."""
        self.desk.on_halt = call

    def close(self) -> None:
        """End the server that was started for it; safe to call twice."""
        if self.console is not None:
            self.console.close()


def replace_arrays(reading: Reading, spec: Spec) -> Reading:
    """The part of a reading that a spec names."""
    return reading._replace(arrays={name: reading.arrays[name] for name in spec})


class FakePage:
    """A page with a seeded hand: it takes the control and beats when it is asked to."""

    def __init__(self, hand: SeededHand, desk: Desk):
        self._hand, self._desk = hand, desk
        self._person = desk.join("operator")
        self._sequence = 0
        desk.take_control(self._person)

    def beat(self) -> None:
        """Send one heartbeat, as the page's timer does at 50 Hz."""
        now = self._desk.clock.now()
        if self._hand.gone(now):
            return
        state = self._hand.at(now)
        self._sequence += 1
        grip = 1.0 if state.closed else -1.0
        hand = Hand(self._sequence, now + 1234.5, state.twist, state.position, state.quaternion, grip, state.enable)
        self._desk.hand(self._person, hand)
