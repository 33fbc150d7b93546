"""A recording session with people: practice, record, review, and again, through the one loop.

Practice and recording are both `rollout`; what differs is who watches. In practice the person drives and nothing is
kept; the word "start" ends it, the scene is set again and the recorded episode begins. When that ends, the loop
stands still until the person has decided about it. The console is nothing but a policy (the person at the page, or
the script), an adversary (the other person) and observers: it never touches a driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robolearn.clock import Clock
from robolearn.contracts import Adversary, Env, Policy
from robolearn.data.session import Phase, Review, Session
from robolearn.data.store import Store
from robolearn.episode import EpisodeMeta, Event, Outcome, Reading
from robolearn.errors import BadEpisode, StaleReading, StorageFull
from robolearn.rollout import episode_seeds, rollout
from teleop.console import acts
from teleop.console.console import Console
from teleop.console.coverage import Visits, coverage, moved, places_of, told, visits
from teleop.console.directed import Directed, Lookout
from teleop.console.gauge import Gauge
from teleop.console.human import HumanAdversary
from teleop.console.scribe import Scribe
from teleop.console.view import View
from teleop.hand import MARKS

__all__ = ["Live", "LiveOptions"]

LOOK_S = 0.05
"""How often a session that stands still looks for what people want."""
ENDS = {"stop": None, "success": Outcome.SUCCESS, "failure": Outcome.FAILURE, "rerecord": Outcome.ABORTED}


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What a session is about.

    Attributes:
        episodes: How many to keep.
        seed: Of the starts.
        longest_s: Of an episode.
        operator: Who demonstrates.
        adversary: Who disturbs, "" for nobody.
        bench: Which bench.
        facts: What else belongs into every episode's `EpisodeMeta.extra`.
        source: Source of events when no person disturbs.
        picture_s: A camera whose newest frame is older than this when the robot is read makes the arm hold.
    """

    episodes: int = 10
    seed: int = 0
    longest_s: float = 120.0
    operator: str = ""
    adversary: str = ""
    bench: str = "twin"
    facts: Mapping[str, Any] = field(default_factory=lambda: {})
    source: str = ""
    picture_s: float = 0.2


class Live:
    """One session at one bench.

    Args:
        console: Where the people are.
        env: The bench, one row.
        operator: Who decides; its `engagement` and `lose` are used when it has them.
        store: Where to.
        clock: Time of everything.
        adversary: Who disturbs, or None.
        options: What it is about.
    """

    def __init__(
        self,
        console: Console,
        env: Env,
        operator: Policy,
        store: Store,
        clock: Clock,
        adversary: Adversary | None = None,
        options: LiveOptions | None = None,
    ):
        self._console, self._env, self._operator, self._store = console, env, operator, store
        self._clock, self._adversary, self._options = clock, adversary, options or LiveOptions()
        kinds = acts.catalogue(env)
        self._objects = kinds["MOVE_OBJ"].targets if "MOVE_OBJ" in kinds else ()
        self._containers = kinds["MOVE_CONT"].targets if "MOVE_CONT" in kinds else ()
        self._things = (*self._objects, *self._containers)
        self._commands = acts.commands_of(env)
        self._view = View(console, env, self._things)
        task = env.task
        options = self._options
        meta = EpisodeMeta(
            task.name, task.instruction, task.rate_hz, robot=task.robot, operator=options.operator,
            adversary=options.adversary, bench=options.bench, extra={"console": True, **options.facts},
        )  # fmt: skip
        self._session = Session(
            store, meta, env.observation_spec, env.action_spec, clock, longest_s=options.longest_s, decide=self._decide
        )
        human = adversary if isinstance(adversary, HumanAdversary) else None
        self._scribe = Scribe(
            self._session, console, human, look=self._look, event=self._session.event, source=options.source
        )
        self._directed = Directed(self, operator, env)
        self._past: list[Visits] = visits(store, self._things) if len(store) else []
        self._gauge = Gauge(env.observation_spec, task.rate_hz)
        self._gauge.read(store)
        self._now = Visits(np.zeros((0, 2)), ())
        self._finished = self._again = False
        self._ending: Outcome | None = None
        self.stale = ""
        """Why what is seen cannot be trusted, "" when it can."""
        console.introduce(
            task=task.name,
            robot=task.robot,
            instruction=task.instruction,
            rate_hz=task.rate_hz,
            cameras=[name for name, spec in env.observation_spec.items() if spec.is_image],
            acts=acts.as_json(kinds),
            commands=self._commands,
            operator=options.operator,
            adversary=options.adversary,
            episodes=options.episodes,
            store=store.path.name,
            longest_s=options.longest_s,
            physical=all(kind.physical for name, kind in kinds.items() if name != "SET_CMD"),
        )

    @property
    def recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._view.recording

    def run(self) -> list[str]:
        """Record until enough is kept or somebody says that it is finished; returns the ids of what was kept."""
        options = self._options
        seeds = iter(episode_seeds(100 * options.episodes, options.seed))
        self._map()
        with self._session:
            while len(self._session.kept) < options.episodes and not self._finished:
                seed = next(seeds)
                self._again = True
                while self._again and not self._finished:
                    self._practise(seed)
                    if not self._finished:
                        self._record(seed)
        self._facts(phase="idle", mode="FINISHED")
        self._view.publish(engaged=False)
        return self._session.kept

    # -- the three parts of an episode --------------------------------------------------------------------------

    def _practise(self, seed: int) -> None:
        """Until somebody starts; nothing is recorded."""
        self._ending = None
        self._console.show_review(None)
        while self._ending is None:
            self._facts(phase=str(self._session.phase), seed=seed)
            try:
                self._rollout(seed, [self._view])
            except StaleReading as error:
                self._wait(str(error))

    def _record(self, seed: int) -> None:
        """One episode and what people make of it."""
        desk = self._console.desk
        self._ending, self._again = None, False
        self._view.recording, desk.recording = True, True
        self._facts(phase="recording", seed=seed)
        try:
            self._rollout(seed, [self._gauge, self._view, self._scribe])
        except (StaleReading, StorageFull) as error:
            desk.tell(str(error), "warning")
        except BadEpisode as error:
            desk.tell(str(error), "warning")
            self._again = True
        finally:
            self._view.recording = desk.recording = False
        if self._session.phase is Phase.RECORDING:  # a camera is gone: the episode ends here and is decided about
            self._scribe.flush()
            self._settle(self._session.stop(Outcome.ABORTED))
        elif self._session.phase is Phase.REVIEW and self._session.last is not None:
            self._settle(self._session.last)
        self._console.show_review(None)
        self._map()

    def _rollout(self, seed: int, observers: Sequence[Any]) -> None:
        rollout(
            self._env,
            self._directed,
            seeds=[seed],
            rate_hz=self._env.task.rate_hz,
            clock=self._clock,
            adversary=Lookout(self, self._adversary),
            observers=observers,
        )

    def _settle(self, review: Review) -> None:
        """Decide until the decision could be carried out."""
        while True:
            verdict = self._decide(review)
            try:
                if verdict is None:
                    self._session.reject()
                else:
                    self._session.commit(verdict)
            except StorageFull as error:
                self._console.desk.tell(str(error), "warning")
            except BadEpisode as error:
                self._console.desk.tell(str(error), "warning")
                return
            else:
                return

    def _decide(self, review: Review) -> Outcome | None:
        """Show the review and wait for a person's word."""
        desk = self._console.desk
        self._view.recording = desk.recording = False
        if self._ending is Outcome.ABORTED and not review.fault:
            self._again = True
            desk.tell("thrown away; the same start comes again")
            return None
        found = self._view.review(review)
        self._console.show_review(found)
        self._facts(phase="review", review={k: found[k] for k in ("number", "id", "proposed", "steps", "duration_s",
                                                                 "degraded", "fault")})  # fmt: skip
        try:
            while True:
                for wish in desk.take_wishes():
                    if wish in ("accept", "success", "failure"):
                        given = {"success": Outcome.SUCCESS, "failure": Outcome.FAILURE}
                        outcome = given.get(wish, review.proposed)
                        desk.tell(f"kept as {outcome.name.lower()}")
                        return outcome
                    if wish in ("reject", "rerecord"):
                        self._again = wish == "rerecord"
                        desk.tell("rejected" if wish == "reject" else "thrown away; the same start comes again")
                        return None
                    if wish == "clear":
                        self._clear()
                    elif wish == "finish":
                        desk.tell("decide about this episode first", "warning")
                self._view.publish(engaged=False)
                self._clock.sleep_until(self._clock.now() + LOOK_S)
        finally:
            self._view.facts.pop("review", None)

    # -- once a tick --------------------------------------------------------------------------------------------

    def look(self, reading: Reading) -> None:
        """Before every decision: can what is seen be trusted, and what do people want."""
        at = float(np.asarray(reading.time)[0])
        ages = {name: at - float(np.asarray(time)[0]) for name, time in reading.captured.items()}
        worst = max(ages, key=lambda name: ages[name], default="")
        frozen = bool(worst) and ages[worst] > self._options.picture_s
        self.stale = f"the camera {worst} is frozen ({ages[worst]:.2f} s)" if frozen else ""
        for wish in self._wanted():
            self._hear(wish)

    def ending(self) -> Outcome:
        """How the person has just ended what is running, RUNNING when they have not."""
        return Outcome.RUNNING if self._ending is None else self._ending

    def holds(self, *, scripted: bool) -> str:
        """Why nobody may move the arm now, "" when somebody may."""
        if self._console.desk.halted:
            return self._console.desk.halted
        if fault := getattr(self._env, "fault", ""):
            return f"the gate has latched: {fault}"
        if self.stale:
            return self.stale
        return "the script waits for the start" if scripted and not self.recording else ""

    def slow(self) -> bool:
        """Whether somebody has a hand in the scene."""
        return self._console.desk.touching

    def noted(self, *, engaged: bool, reason: str) -> None:
        """Who moves the arm, for the pages."""
        desk = self._console.desk
        gate = getattr(self._env, "fault", "")
        person = "SCRIPT" if not hasattr(self._operator, "engagement") else "HUMAN"
        mode = "STOPPED" if desk.halted or gate else person if engaged else "HOLD"
        goal = getattr(self._env, "success", None)
        done = None if goal is None else bool(goal())
        self._facts(mode=mode, reason=reason, gate=gate, stale=self.stale, goal=done, density=self._gauge.as_json())

    def _wanted(self) -> list[str]:
        pressed: list[str] = getattr(self._operator, "pressed", [])
        own = getattr(getattr(self._operator, "device", None), "desk", None) is None
        buttons = [mark for mark in pressed if own and mark in MARKS and mark != "seen"]
        pressed.clear()
        return [*self._console.desk.take_wishes(), *buttons]

    def _hear(self, wish: str) -> None:
        desk, session = self._console.desk, self._session
        if wish == "clear":
            self._clear()
        elif self.recording and wish in ENDS:
            outcome = ENDS[wish]
            self._ending = self._judged() if outcome is None else outcome
        elif self.recording:
            desk.tell(f"cannot {wish} while an episode is recorded", "warning")
        elif wish == "finish":
            self._finished, self._ending = True, Outcome.ABORTED
        elif wish in ("arm", "start"):
            try:
                if session.phase is Phase.IDLE:
                    session.arm(seed=self._view.facts.get("seed"), instruction=self._view.instruction)
            except StorageFull as error:
                desk.tell(str(error), "warning")
                return
            self._facts(phase=str(session.phase))
            if wish == "start":
                self._ending = Outcome.ABORTED
        elif wish == "disarm" and session.phase is Phase.ARMED:
            session.reject()
            self._facts(phase=str(session.phase))
        else:
            desk.tell(f"nothing to {wish}: no episode is being recorded", "warning")

    def _judged(self) -> Outcome:
        """What the bench would say of an episode that was just stopped; people have the last word."""
        goal = getattr(self._env, "success", None)
        return Outcome.SUCCESS if goal is None or goal() else Outcome.FAILURE

    def _clear(self) -> None:
        if getattr(self._env, "fault", ""):
            self._env.clear()  # pyright: ignore[reportAttributeAccessIssue]  # a bench with a gate has it
        self._console.desk.tell("cleared; release the clutch and press it again")

    def _wait(self, reason: str) -> None:
        """A camera is gone: hold, say so, look again."""
        self.stale = reason
        for wish in self._wanted():
            if wish == "finish":
                self._finished, self._ending = True, Outcome.ABORTED
        self._facts(mode="HOLD", reason=reason, stale=reason)
        self._view.publish(engaged=False)
        self._clock.sleep_until(self._clock.now() + 0.2)

    def _facts(self, **facts: Any) -> None:
        self._view.facts |= facts | {"kept": len(self._session.kept)}

    # -- coverage -----------------------------------------------------------------------------------------------

    def started(self, reading: Reading) -> None:
        """A recorded episode begins here."""
        one = {name: value[0] for name, value in reading.arrays.items()}
        command = told(one, self._env.observation_spec)
        places = list(places_of(one, self._things).values())
        self._now = Visits(np.array(places).reshape(-1, 2), (command,))
        self._console.desk.command_given()
        self._map(running=True)

    def _look(self, event: Event) -> None:
        self._view.look(event)
        places = {name: np.array(xy) for name, xy in self._places().items()}
        if (spot := moved(event, places)) is not None:
            self._now = Visits(np.concatenate([self._now.places, spot[None]]), self._now.commands)
        elif event.kind == "SET_CMD" and event.accepted and "t_seen" not in event.params:
            self._now = Visits(self._now.places, (*self._now.commands, str(event.params.get("instruction", ""))))
        else:
            return
        self._map(running=True)

    def _places(self) -> dict[str, list[float]]:
        return self._console.status().get("objects", {})

    def _map(self, *, running: bool = False) -> None:
        if not running:
            last = self._session.last
            if last is not None and last.id in self._session.kept[-1:]:
                self._past.append(self._now)
                self._gauge.keep(self._store.log(last.id, pictures=False).episode)
            self._gauge.drop()
            self._now = Visits(np.zeros((0, 2)), ())
        found = coverage(
            [*self._past, self._now], objects=self._objects, containers=self._containers, commands=self._commands
        )
        self._facts(density=self._gauge.as_json())
        self._console.show_coverage(found.as_json() | {"situations": self._gauge.cells.tolist()})
