"""An observer that writes events down completely before they are recorded.

The environment says what was done to the scene and when; who asked for it, and when on whose clock, the desk knows. The
scribe puts both together, adds what the desk has to say itself (touches, refusals, stops), and keeps a new command back
until the tele-operator's page has acknowledged it, so that its event holds `t_cmd` and `t_seen`; a command that nobody
has acknowledged after two seconds is written with `t_seen` null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from robolearn.contracts import Env, Observer, Tick
from robolearn.episode import Event, Outcome, Reading
from teleop.console.console import Console
from teleop.console.human import HumanAdversary

__all__ = ["Scribe"]

PATIENCE_S = 2.0


class Scribe:
    """Stands in front of the recorder.

    Args:
        recorder: What records; it has `event` for what came late.
        console: Where the people are.
        human: The person who disturbs, None when nobody or a program does.
        look: Called with every finished event, for the pages.
        event: Writes one event now, beside a step.
        source: Who disturbs when no person does.
    """

    def __init__(
        self,
        recorder: Observer,
        console: Console,
        human: HumanAdversary | None,
        *,
        look: Callable[[Event], None],
        event: Callable[[Event], None],
        source: str = "",
    ):
        self._recorder, self._console, self._human = recorder, console, human
        self._look, self._event, self._source = look, event, source
        self._pending: list[tuple[int, Event]] = []

    def begin(self, env: Env, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._pending.clear()
        self._console.desk.take_events()
        self._recorder.begin(env, rows, seeds)

    def step(self, tick: Tick) -> None:
        events = [(row, done) for row, event in tick.events if (done := self._complete(event)) is not None]
        late = [*self._seen(), *self._console.desk.take_events()]
        for event in late:
            self._look(event)
        self._recorder.step(replace(tick, events=[*events, *((0, event) for event in late)]))

    def end(self, rows: Sequence[int], outcomes: Sequence[Outcome], reading: Reading) -> None:
        self.flush()
        self._recorder.end(rows, outcomes, reading)

    def flush(self) -> None:
        """Write down what is kept back."""
        for event in [*self._seen(everything=True), *self._console.desk.take_events()]:
            self._look(event)
            self._event(event)

    def _complete(self, event: Event) -> Event | None:
        source = event.source or self._source
        if self._human is not None and self._human.proposed:
            act = self._human.proposed.popleft()
            facts = {**event.params, **act.facts, "person": act.person}
            event, source = replace(event, params=facts), "human"
            result = {"number": act.number, "accepted": event.accepted, "reason": event.reason}
            self._console.answer(act.person, result | {"until": event.end})
        event = replace(event, source=source)
        if event.kind == "SET_CMD" and event.accepted:
            number = self._console.desk.command_given()
            self._pending.append((number, replace(event, params={**event.params, "t_cmd": event.time})))
            self._look(event)
            return None
        self._look(event)
        return event

    def _seen(self, *, everything: bool = False) -> list[Event]:
        """Commands whose acknowledgement has come, or is not waited for any longer."""
        now, done, left = self._console.clock.now(), list[Event](), list[tuple[int, Event]]()
        for number, event in self._pending:
            facts = self._console.desk.when_seen(number)
            if facts is None and not everything and now - event.time < PATIENCE_S:
                left.append((number, event))
                continue
            done.append(replace(event, params={**event.params, **(facts or {"t_seen": None})}))
        self._pending = left
        return done
