"""The desk between the people and the loop: what they ask for, what they may, and what they are shown.

Threads of the server call it as messages come; the control loop calls it once a tick. It holds no sockets and no robot,
only facts behind one lock, so every rule of the console is tested on a fake clock: the heartbeat, the lease, who may do
what, how often, and which words stop the robot. Nothing here waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robolearn.clock import Clock
from robolearn.episode import Event, Perturbation, Reading
from robolearn.errors import StaleReading
from robolearn.specs import Array
from teleop.console.clocks import ClientClock, Delay
from teleop.console.lease import Lease
from teleop.engagement import HEARTBEAT_S
from teleop.hand import Marks

__all__ = ["ROLES", "Act", "Desk", "Hand", "Person"]

ROLES = ("operator", "adversary", "viewer")
WISHES = ("arm", "disarm", "start", "stop", "success", "failure", "accept", "reject", "rerecord", "clear", "finish")
"""What a tele-operator can ask of the session."""
MOST_ACTS = 4
"""Acts that may wait for the loop; a tick takes all of them."""
ACTS_PER_S, ACTS_AT_ONCE = 2.0, 4.0
"""How fast an adversary may ask: a token bucket."""
REFUSALS_PER_S = 1.0


@dataclass(slots=True)
class Person:
    """Somebody at a page.

    Attributes:
        id: Name shown to the others, unique, such as "operator 1".
        role: One of `ROLES`.
        clock: What their browser says of its clock, None before the first pings.
    """

    id: str
    role: str
    clock: ClientClock | None = None
    delay: Delay = field(default_factory=Delay)
    sequence: int = -1
    tokens: float = ACTS_AT_ONCE
    filled: float = 0.0
    refused: float = -np.inf


@dataclass(frozen=True, slots=True)
class Hand:
    """One heartbeat of a tele-operator's page.

    Attributes:
        sequence: Grows with every heartbeat.
        time: Client time, s.
        twist: (6,) deflections.
        position: (3,) m, of a phone or the touch pads.
        quaternion: (4,) its turn.
        grip: From open (-1) to closed (1).
        enable: Whether the clutch is held.
    """

    sequence: int
    time: float
    twist: Array
    position: Array
    quaternion: Array
    grip: float
    enable: bool


@dataclass(frozen=True, slots=True)
class Act:
    """A disturbance that was asked for.

    Attributes:
        number: The page's own number, to tell it what became of it.
        person: Who.
        perturbation: What.
        facts: Times on both clocks, for the event's params.
    """

    number: int
    person: str
    perturbation: Perturbation
    facts: Mapping[str, Any]


class Desk:
    """Shared by the server and the loop.

    Args:
        clock: The server's monotonic time.
        heartbeat_s: Silence after which a tele-operator is gone.
    """

    def __init__(self, clock: Clock, heartbeat_s: float = HEARTBEAT_S):
        self.clock, self._heartbeat_s = clock, heartbeat_s
        self._lock = threading.RLock()
        self._people: dict[str, Person] = {}
        self._lease = Lease()
        self._hand: tuple[Hand, float] | None = None
        self._marks = Marks()
        self._wishes: deque[str] = deque(maxlen=16)
        self._acts: deque[Act] = deque()
        self._events: deque[Event] = deque(maxlen=256)
        self._touches: dict[str, tuple[str, str, float, dict[str, Any]]] = {}
        self._seen: dict[int, dict[str, float | None]] = {}
        self._commands = 0
        self.halted = ""
        """Why everybody holds, "" when nobody said stop."""
        self.on_halt: Callable[[str], None] = lambda by: None
        """Called at once, from the thread of the server, with the name of somebody who says stop."""
        self.recording = False
        """Whether an episode is being recorded; acts are taken only then."""
        self.notices: deque[tuple[int, str, str]] = deque(maxlen=100)
        """(number, kind, text): what the people are told; kinds are "info", "warning" and "act"."""
        self._told = 0

    # -- people -------------------------------------------------------------------------------------------------

    def join(self, role: str) -> Person:
        """Somebody has opened a page."""
        with self._lock:
            number = 1
            while f"{role} {number}" in self._people:
                number += 1
            person = Person(f"{role} {number}", role, filled=self.clock.now())
            self._people[person.id] = person
            return person

    def leave(self, person: Person) -> None:
        """They are gone; a holder of the lease lets go at once."""
        with self._lock:
            self._people.pop(person.id, None)
            self._touches.pop(person.id, None)
            if self._lease.give(person.id):
                self._hand = None
                self.tell(f"{person.id} has left; the robot holds", "warning")

    def people(self) -> list[Person]:
        """Everybody."""
        with self._lock:
            return list(self._people.values())

    def tell(self, text: str, kind: str = "info") -> None:
        """Show everybody a line."""
        with self._lock:
            self._told += 1
            self.notices.append((self._told, kind, text))

    # -- control ------------------------------------------------------------------------------------------------

    @property
    def holder(self) -> str:
        """Who holds the lease, "" for nobody."""
        with self._lock:
            self._lease.expire(self.clock.now())
            return self._lease.holder

    def take_control(self, person: Person) -> str:
        """Ask for the lease; returns why not, or ""."""
        with self._lock:
            if person.role != "operator":
                return self.refuse(person, "control", f"the page of the {person.role} moves nothing")
            reason = self._lease.take(person.id, self.clock.now())
            if not reason:
                self._hand, person.sequence = None, -1
            return reason

    def give_control(self, person: Person) -> None:
        """Give the lease back."""
        with self._lock:
            if self._lease.give(person.id):
                self._hand = None

    def hand(self, person: Person, hand: Hand) -> str:
        """A heartbeat. It counts when it is newer than the last and has not lain about in some queue.

        Returns:
            Why it does not count, or "".
        """
        with self._lock:
            now = self.clock.now()
            if person.role != "operator":
                return self.refuse(person, "motion", f"the page of the {person.role} moves nothing")
            if hand.sequence <= person.sequence:
                return "an old heartbeat"
            late_s = person.delay.of(hand.time, now)
            if late_s > self._heartbeat_s:
                return "a late heartbeat"
            person.sequence = hand.sequence
            if not self._lease.heard(person.id, now):
                return "somebody else has the control" if self._lease.holder else "take the control first"
            self._hand = (hand, now - late_s)  # as old as it is, not as young as it came
            return ""

    def read_hand(self) -> Reading:
        """The holder's hand, for the device.

        Raises:
            StaleReading: Nobody holds the lease, or the holder is silent.
        """
        with self._lock:
            now = self.clock.now()
            if self._hand is None:
                raise StaleReading("nobody has the control" if not self._lease.holder else "the page is silent")
            hand, said = self._hand
            if now - said > self._heartbeat_s:
                raise StaleReading(f"the page has been silent for {now - said:.2f} s")
            arrays = {
                "hand.twist": hand.twist,
                "hand.position": hand.position,
                "hand.quaternion": hand.quaternion,
                "hand.grip": np.array([hand.grip]),
                "hand.enable": np.array([hand.enable]),
                "hand.marks": self._marks.counts,
            }
            return Reading(said, arrays)

    def halt(self, person: Person, reason: str = "") -> None:
        """Stop, from anybody: hold now, the lease is revoked, and a tele-operator has to clear it."""
        with self._lock:
            self.halted = f"{person.id} said stop" + (f": {reason}" if reason else "")
            self._lease.give(self._lease.holder)
            self._hand = None
            self._event("HALT", person, {"reason": reason})
            self.tell(self.halted, "warning")
        self.on_halt(person.id)

    def wish(self, person: Person, what: str) -> str:
        """Ask something of the session; returns why not, or ""."""
        with self._lock:
            if person.role != "operator":
                return self.refuse(person, what, f"only a tele-operator can {what}")
            if what == "clear":
                self.halted = ""
            self._wishes.append(what)
            return ""

    def take_wishes(self) -> list[str]:
        """What was asked for since the last look."""
        with self._lock:
            wishes = list(self._wishes)
            self._wishes.clear()
            return wishes

    # -- disturbances -------------------------------------------------------------------------------------------

    def act(self, person: Person, number: int, perturbation: Perturbation, time: float | None = None) -> str:
        """An adversary wants something done; returns why it is refused, or ""."""
        with self._lock:
            now = self.clock.now()
            person.tokens = min(ACTS_AT_ONCE, person.tokens + (now - person.filled) * ACTS_PER_S)
            person.filled = now
            if person.role != "adversary":
                return self.refuse(person, perturbation.kind, f"the page of the {person.role} disturbs nothing")
            if person.tokens < 1.0 or len(self._acts) >= MOST_ACTS:
                return self.refuse(person, perturbation.kind, "too many acts; wait a moment")
            person.tokens -= 1.0
            if not self.recording:
                return "nothing is being recorded"
            self._acts.append(Act(number, person.id, perturbation, self._times(person, time)))
            return ""

    def take_acts(self) -> list[Act]:
        """What adversaries asked for since the last look."""
        with self._lock:
            acts = list(self._acts)
            self._acts.clear()
            return acts

    def touch(self, person: Person, down: bool, kind: str, target: str, time: float | None = None) -> str:
        """An adversary presses (and later releases) while they touch the real scene; returns why not, or ""."""
        with self._lock:
            if person.role != "adversary":
                return self.refuse(person, "touch", f"the page of the {person.role} disturbs nothing")
            if down:
                if not self.recording:
                    return "nothing is being recorded"
                self._touches.setdefault(person.id, (kind, target, self.clock.now(), self._times(person, time)))
            elif (begun := self._touches.pop(person.id, None)) is not None:
                kind, target, start, facts = begun
                ended = {f"{name}_end": value for name, value in self._times(person, time).items()}
                params = {"physical": True, **facts, **ended}
                self._events.append(Event(kind, start, self.clock.now(), "human", target, params))
            return ""

    @property
    def touching(self) -> bool:
        """Whether somebody has a hand in the scene."""
        with self._lock:
            return bool(self._touches)

    # -- commands and what was seen of them ---------------------------------------------------------------------

    def command_given(self) -> int:
        """A new command has been committed now; returns its number, which the pages show and acknowledge."""
        with self._lock:
            self._commands += 1
            return self._commands

    @property
    def command_number(self) -> int:
        """The number of the newest command."""
        with self._lock:
            return self._commands

    def seen(self, person: Person, number: int, time: float | None) -> str:
        """A tele-operator's page has shown a command; returns why that does not count, or ""."""
        with self._lock:
            if person.role != "operator":
                return self.refuse(person, "seen", "only a tele-operator's page can say so")
            if not 0 < number <= self._commands:
                return "there is no such command"
            now = self.clock.now()
            at = None if time is None or person.clock is None else person.clock.to_server(time, now=now)
            self._seen.setdefault(
                number,
                {
                    "t_seen": now if at is None else at,
                    "t_seen_client": time,
                    "t_seen_offset": None if person.clock is None else person.clock.offset_s,
                    "t_seen_rtt": None if person.clock is None else person.clock.rtt_s,
                },
            )
            return ""

    def when_seen(self, number: int) -> dict[str, float | None] | None:
        """When a command was seen, on both clocks; None when it has not been yet."""
        with self._lock:
            return self._seen.get(number)

    # -- what goes into the episode -----------------------------------------------------------------------------

    def take_events(self) -> list[Event]:
        """Marks, touches and refusals since the last look."""
        with self._lock:
            events = list(self._events)
            self._events.clear()
            return events

    def refuse(self, person: Person, what: str, reason: str) -> str:
        """Log that somebody asked for what they may not have (at most once a second each), and say so."""
        with self._lock:
            now = self.clock.now()
            if now - person.refused >= 1.0 / REFUSALS_PER_S:
                person.refused = now
                self._event("REFUSED", person, {"asked": what}, reason)
                self.tell(f"{person.id}: {reason}", "warning")
            return reason

    def _event(self, kind: str, person: Person, params: dict[str, Any], reason: str = "") -> None:
        now = self.clock.now()
        facts = {"person": person.id, **params}
        self._events.append(Event(kind, now, now, "human", person.role, facts, accepted=not reason, reason=reason))

    def _times(self, person: Person, time: float | None) -> dict[str, Any]:
        """The three times of an event: the client's, the offset between the clocks, the server's."""
        clock = person.clock
        return {
            "t_client": time,
            "t_offset": None if clock is None else clock.offset_s,
            "t_rtt": None if clock is None else clock.rtt_s,
            "t_server": self.clock.now(),
        }
