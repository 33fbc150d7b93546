"""What goes wrong at a page, on the simulated twin: the arm slows within 210 ms, rests within 500 ms, and stays so.

All of it runs on a fake clock; the tool's speed is looked at every 5 ms of it.
"""

import numpy as np
import pytest
from people import PUSH, Page, ScriptedClock, bench, session

from robolearn.episode import Outcome, Perturbation
from robolearn.errors import SafetyFault
from robolearn.safety import SafeRobot

CRUISE = 0.2
"""m/s that the hand's full deflection brings at least."""


class Watch:
    """The tool's speed over time."""

    def __init__(self, clock, env):
        self.times, self.places = [], []

        def look():
            _time, seen = env.world.measure()
            self.times.append(clock.now())
            self.places.append(seen["tool.position"])
            return True

        clock.every(0.005, look)

    def speeds(self):
        """Times and speeds in m/s over 20 ms."""
        times, places = np.array(self.times), np.array(self.places)
        return times[4:], np.linalg.norm(places[4:] - places[:-4], axis=1) / (times[4:] - times[:-4])

    def after(self, start):
        times, speeds = self.speeds()
        return times[times >= start] - start, speeds[times >= start]


def drive(store, fault, *, until=3.2, clock=None, **options):
    """A recorded episode in which the person moves at full speed and at 2 s something happens."""
    clock = clock or ScriptedClock()
    console, env, live = session(clock, store, **options)
    desk = console.desk
    page, watch = Page(clock, desk), Watch(clock, env)
    desk.take_control(page.person)
    start = clock.now()
    clock.after(0.4, lambda: desk.wish(page.person, "start"))

    def push():
        page.twist, page.enable = PUSH, True

    clock.after(0.8, push)
    clock.after(2.0, lambda: fault(page, console, clock))

    def over():
        someone = desk.join("operator")
        desk.wish(someone, "stop")
        clock.after(0.5, lambda: desk.wish(someone, "accept"))

    clock.after(until, over)
    ids = live.run()
    return start + 2.0, watch, [store[id] for id in ids], console


def closed(page, console, clock):
    page.alive = False
    console.desk.leave(page.person)


def frozen(page, console, clock):
    page.alive = False


def black_holed(page, console, clock):
    page.alive = "queued"


def slow_network(page, console, clock):
    page.alive = "late"


def tab_hidden(page, console, clock):
    page.enable = False


def rests(watch, lost):
    times, speeds = watch.after(lost)
    before = watch.after(lost - 0.2)[1][:40]
    assert before.mean() > CRUISE, "it was moving"
    # Within a control period the speed has a ripple; it slows when no peak reaches the old ones any more.
    slow = times[speeds > 0.95 * before.max()].max(initial=0.0)
    assert slow <= 0.21, f"it slows after {slow:.3f} s"
    moving = times[speeds > 0.005]
    assert moving.max() <= 0.5, f"it moves until {moving.max():.3f} s"
    return slow, moving.max()


@pytest.mark.parametrize("fault", [closed, frozen, black_holed, tab_hidden])
def test_a_lost_page_slows_the_arm_within_210_ms_and_rests_it_within_500(store, fault):
    lost, watch, (episode,), _ = drive(store, fault)
    rests(watch, lost)
    assert not episode.notes["engaged"][-20:].any()


def test_words_that_come_later_and_later_are_not_followed(store):
    lost, watch, (episode,), _ = drive(store, slow_network, until=4.0)
    times, speeds = watch.after(lost)
    assert speeds[times < 0.15].max() > CRUISE, "a little late is good enough"
    # A beat in two comes 10 ms later than the one before: after 0.4 s the newest word is as old as a silence may be.
    assert times[speeds > 0.005].max() < 0.4 + 0.5
    assert not episode.notes["engaged"][-15:].any(), "though they keep coming, up to a second old"


def test_a_queue_of_old_heartbeats_moves_nothing_and_a_held_clutch_must_be_released_and_pressed(store):
    def fault(page, console, clock):
        page.alive = "queued"

        def burst():  # the network is back: everything that lay in it arrives at once
            for hand in page.held:
                console.desk.hand(page.person, hand)
            page.held.clear()
            page.alive = True  # and the page goes on beating, the clutch still held down

        def release():
            page.enable = False

        def press():
            page.enable = True

        clock.after(1.0, burst)
        clock.after(2.5, release)
        clock.after(2.7, press)

    lost, watch, (episode,), _ = drive(store, fault, until=6.0)
    times, speeds = watch.after(lost)
    assert speeds[(times > 0.5) & (times < 2.7)].max() < 0.005, "neither the burst nor the held clutch moves it"
    assert speeds[(times > 3.2) & (times < 3.6)].min() > CRUISE, "released and pressed, it follows again"
    engaged = episode.notes["engaged"].astype(int)
    assert np.abs(np.diff(engaged)).sum() == 4 - engaged[-1]


def test_stop_from_anybody_holds_everybody_until_it_is_cleared_and_pressed_again(store):
    def fault(page, console, clock):
        desk = console.desk
        other = desk.join("viewer")
        desk.halt(other, "a hand in the way")
        assert desk.holder == ""
        clock.after(0.6, lambda: desk.take_control(page.person))  # the clutch is still held
        clock.after(1.0, lambda: desk.wish(page.person, "clear"))

    lost, watch, (episode,), console = drive(store, fault)
    rests(watch, lost)
    halt = next(e for e in episode.events if e.kind == "HALT")
    assert halt.params["reason"] == "a hand in the way"
    assert console.desk.halted == ""


def test_an_adversary_cannot_move_take_the_lease_or_flood(store):
    def fault(page, console, clock):
        desk = console.desk
        other = desk.join("adversary")
        assert "moves nothing" in desk.take_control(other)

        def flood():
            beat = Page.__new__(Page)
            beat.__dict__ |= vars(page) | {"person": other, "twist": -PUSH, "alive": True, "held": []}
            Page.beat(beat)
            for _ in range(50):
                desk.act(other, 1, Perturbation("MOVE_OBJ", "kiwi", {"dx": 9.0}))
            assert "only a tele-operator can" in desk.wish(other, "stop")
            return clock.now() < start + 4.0

        start = clock.now()
        clock.every(0.01, flood)
        clock.after(1.0, lambda: setattr(page, "enable", False))

    lost, watch, (episode,), console = drive(store, fault, until=6.0, adversary="web")
    times, speeds = watch.after(lost)
    assert speeds[(times > 0.1) & (times < 0.9)].min() > CRUISE, "the tele-operator goes on as if nothing were"
    assert console.desk.holder == "operator 1"
    refused = [e for e in episode.events if e.kind == "REFUSED"]
    assert 2 <= len(refused) <= 6, "logged, but not more than once a second"
    assert all(not e.accepted and e.target == "adversary" for e in refused)
    acts = [e for e in episode.events if e.kind == "MOVE_OBJ"]
    assert len(acts) <= 4 + 2 * 4 + 1, "the rate of acts is bounded"
    assert not any(e.accepted for e in acts)


def test_two_operators_one_lease():
    clock = ScriptedClock()
    from teleop.console.desk import Desk

    desk = Desk(clock)
    first, second = Page(clock, desk), Page(clock, desk)
    assert desk.take_control(first.person) == ""
    clock.sleep_until(clock.now() + 0.1)
    assert "operator 1 holds the control" in desk.take_control(second.person)
    second.twist = PUSH
    clock.sleep_until(clock.now() + 0.1)
    np.testing.assert_array_equal(desk.read_hand().arrays["hand.twist"], np.zeros(6))
    first.alive = False  # frozen: after two seconds the other may have it, not before
    clock.sleep_until(clock.now() + 1.8)
    assert desk.take_control(second.person) != ""
    clock.sleep_until(clock.now() + 0.3)
    assert desk.take_control(second.person) == ""


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_page_whose_clock_jumps_never_lives_longer(jump):
    from robolearn.errors import StaleReading
    from teleop.console.desk import Desk

    clock = ScriptedClock()
    desk = Desk(clock)
    page = Page(clock, desk)
    desk.take_control(page.person)
    clock.sleep_until(clock.now() + 0.5)
    desk.read_hand()
    page.offset += jump
    page.alive = False
    clock.sleep_until(clock.now() + 0.25)
    with pytest.raises(StaleReading, match=r"silent for 0\.2"):
        desk.read_hand()


def test_repeated_and_reordered_heartbeats_do_not_extend_a_life():
    from robolearn.errors import StaleReading
    from teleop.console.desk import Desk

    clock = ScriptedClock()
    desk = Desk(clock)
    page = Page(clock, desk)
    desk.take_control(page.person)
    clock.sleep_until(clock.now() + 0.1)
    page.alive = "queued"
    clock.sleep_until(clock.now() + 0.1)
    first, *rest = page.held
    page.alive = False
    assert desk.hand(page.person, rest[-1]) == ""
    for _ in range(30):
        clock.sleep_until(clock.now() + 0.01)
        assert desk.hand(page.person, rest[-1]) == "an old heartbeat"
        assert desk.hand(page.person, first) == "an old heartbeat"
    with pytest.raises(StaleReading):
        desk.read_hand()


def test_a_frozen_camera_holds_the_arm_ends_the_episode_and_the_session_goes_on(store):
    clock = ScriptedClock()
    env = bench(clock, cameras=(("agent", 32, 24),), pictures_hz=30.0)

    def fault(page, console, clock):
        env.cameras[0].frozen = True

        def back():
            env.cameras[0].frozen = False

        clock.after(2.5, back)
        clock.after(1.8, lambda: console.desk.wish(page.person, "accept"))

    try:
        lost, watch, episodes, console = drive(store, fault, until=6.0, clock=clock, env=env)
    finally:
        env.close()
    times, speeds = watch.after(lost)
    moving = times[speeds > 0.005]
    assert moving.max() <= 0.2 + 0.05 + 0.29, "it holds once the picture is older than 200 ms, as for a lost page"
    (episode,) = episodes
    assert episode.outcome is Outcome.ABORTED
    assert episode.times[-1] - lost < 1.1, "a second without pictures ends the episode"
    assert any("agent" in text for _, _, text in console.desk.notices)


def test_a_latched_gate_holds_until_it_is_cleared(store):
    def fault(page, console, clock):
        robot = ENV[0]
        robot.gate.write({"arm.delta": np.full(6, np.nan), "gripper.command": np.array([0.0])})
        assert "finite" in robot.fault

    clock = ScriptedClock()
    ENV = [bench(clock)]
    lost, watch, (episode,), _console = drive(store, fault, until=6.0, clock=clock, env=ENV[0])
    rests(watch, lost)
    assert episode.outcome in (Outcome.ABORTED, Outcome.FAILURE)
    assert ENV[0].fault
    ENV[0].clear()
    assert not ENV[0].fault


def test_the_gate_of_the_bench_is_the_one_gate():
    clock = ScriptedClock()
    env = bench(clock)
    assert isinstance(env.gate, SafeRobot)
    with pytest.raises(SafetyFault, match="first command was refused"):
        env.act({"arm.delta": np.full((1, 6), np.inf), "gripper.command": np.zeros((1, 1))})
