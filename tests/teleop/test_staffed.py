"""People at the bench of a file: the same session, behind the file's gate, on the MuJoCo twin of a Panda."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from people import PUSH, Page, ScriptedClock, session

from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.bench.staffed import StaffedBench, for_people
from robolearn.cli import run
from robolearn.episode import Outcome, Perturbation
from robolearn.errors import SafetyFault
from robolearn.safety import GateState
from teleop.console import acts

PANDA = Path(__file__).resolve().parents[2] / "launch" / "benches" / "panda_twin.toml"


def open_panda(clock):
    return open_bench(for_people(read_bench(PANDA), 120.0), clock, paced=False)


def drive(store, clock, live, script, *, until=4.0, **options):
    """One recorded episode in which the person pushes from 0.8 s on, and what else the script does."""
    env = StaffedBench(live.env, live.gate, live.world)
    console, _, running = session(clock, store, env=env, bench="panda_twin", facts=live.facts, **options)
    page, desk = Page(clock, console.desk), console.desk
    desk.on_halt = live.gate.emergency_stop
    desk.take_control(page.person)
    clock.after(0.4, lambda: desk.wish(page.person, "start"))

    def push():
        page.twist, page.enable = PUSH, True

    clock.after(0.8, push)
    script(page, desk)
    clock.after(until, lambda: desk.wish(page.person, "stop"))
    clock.after(until + 0.5, lambda: desk.wish(page.person, "accept"))
    clock.after(until + 1.0, lambda: desk.wish(page.person, "finish"))
    return running.run(), console


def test_a_person_records_at_the_bench_of_a_file(store):
    clock = ScriptedClock()

    def script(page, desk):
        def rest():
            page.twist, page.enable = np.zeros(6), False

        clock.after(1.6, rest)

    with open_panda(clock) as live:
        (id,), _ = drive(store, clock, live, script, until=2.4)
    episode = store[id]
    assert episode.meta.bench == "panda_twin"
    assert episode.meta.extra["bench_sha256"] == live.facts["bench_sha256"]
    assert episode.outcome is Outcome.FAILURE, "the world of the twin says so, nobody else did"
    y = episode.observations["tool.position"][:, 1]
    assert y[-1] - y[0] == pytest.approx(0.8 * 0.25, abs=0.05), "the tool went where the hand pointed"
    assert "gate.engage" in [event.kind for event in episode.events], "what the gate did is recorded, too"


def test_an_arm_that_nobody_moves_does_not_creep(store):
    clock = ScriptedClock()
    sideways, nothing = np.array([[0.0, 0.02, 0, 0, 0, 0]]), np.zeros((1, 6))
    with open_panda(clock) as live:
        live.env.reset([3], [0])
        places = []
        for k in range(140):
            places.append(live.env.observe().arrays["arm.q"][0].copy())
            live.env.act({"arm.delta": sideways if k < 20 else nothing, "gripper.command": np.array([[-1.0]])})
            clock.sleep_until(clock.now() + 0.05)
    assert np.abs(places[20] - places[0]).max() > 0.05, "it was moved"
    np.testing.assert_allclose(places[-1], places[40], atol=1e-4)


def test_stop_at_a_page_latches_the_gate_until_somebody_clears_it(store):
    clock = ScriptedClock()
    faults, heights = [], []

    def script(page, desk):
        other = desk.join("viewer")
        clock.after(1.6, lambda: desk.halt(other))
        clock.after(2.2, lambda: heights.append(live.gate.read().arrays["arm.q"].copy()))
        clock.after(2.4, lambda: (faults.append(live.gate.fault), heights.append(live.gate.read().arrays["arm.q"])))
        clock.after(2.6, lambda: desk.wish(page.person, "reject"))
        clock.after(2.8, lambda: desk.wish(page.person, "clear"))
        clock.after(2.9, lambda: faults.append(live.gate.fault))

    with open_panda(clock) as live:
        kept, _ = drive(store, clock, live, script, until=3.4)
    assert not kept, "the episode ended as aborted, and was rejected"
    assert "viewer 1 pressed the emergency stop" in faults[0]
    assert faults[1] == ""
    np.testing.assert_allclose(heights[0], heights[1], atol=1e-4)


def test_people_begin_where_they_have_led_the_arm_and_policies_at_the_start_pose():
    clock, file = ScriptedClock(), read_bench(PANDA)

    def lead(file):
        with open_bench(file, clock, paced=False) as live:
            live.env.reset([3], [0])
            world: Any = live.world  # the twin's; real ones cannot be put anywhere
            world.home(np.array(live.gate.read().arrays["arm.q"]) + 0.2)
            for _ in range(5):
                live.env.observe()
                live.env.act({"arm.delta": np.array([[0.0, 0.02, 0, 0, 0, 0]]), "gripper.command": np.array([[-1.0]])})
                clock.sleep_until(clock.now() + 0.05)
            return live.gate.state

    assert lead(for_people(file, 60.0)) is GateState.ACTIVE
    with pytest.raises(SafetyFault, match="does not stand at its start pose"):
        lead(file)


def test_the_twins_world_does_what_an_adversary_proposes_and_a_real_bench_asks_people():
    clock = ScriptedClock()
    wanted = Perturbation("MOVE_OBJ", "cube", {"dx": 0.05})
    shown = []
    with open_bench(read_bench(PANDA), clock, paced=False, cue=shown.append) as live:
        twin = StaffedBench(live.env, live.gate, live.world)
        twin.reset([3], [0])
        assert acts.catalogue(twin)["MOVE_OBJ"].targets == ("cube",)
        event = twin.apply(0, wanted)
        assert event.accepted
        assert event.end > event.time
        assert not twin.apply(0, replace(wanted, target="cub")).accepted
        assert not shown
        assert twin.success is not None

        real = StaffedBench(live.env, live.gate)
        assert real.success is None
        assert all(kind.physical for name, kind in acts.catalogue(real).items() if name != "SET_CMD")
        told = real.apply(0, Perturbation("SET_CMD", instruction="Lift it again."))
        assert told.params["instruction"] == "Lift it again.", "its words are in the recording"
        real.apply(0, wanted)
        assert [act.kind for act in shown] == ["SET_CMD", "MOVE_OBJ"]


def test_the_arm_is_slower_while_the_twins_world_is_disturbed():
    def sideways(k):  # fast only once the ramp after engaging is over
        return 0.05 if k > 15 else 0.0

    def way(disturbed):
        clock = ScriptedClock()
        with open_panda(clock) as live:
            bench = StaffedBench(live.env, live.gate, live.world)
            bench.reset([3], [0])
            places = []
            for k in range(24):
                places.append(bench.observe().arrays["tool.position"][0])
                if disturbed and k == 15:
                    assert bench.apply(0, Perturbation("MOVE_OBJ", "cube", {"dx": 0.05})).accepted
                bench.act(
                    {"arm.delta": np.array([[0.0, sideways(k), 0, 0, 0, 0]]), "gripper.command": np.array([[-1.0]])}
                )
                clock.sleep_until(clock.now() + 0.05)
        return np.linalg.norm(places[-1] - places[16])

    assert way(disturbed=True) < 0.8 * way(disturbed=False)


def test_a_bench_file_and_a_task_contradict_each_other(capsys):
    assert run(["record", "--bench", str(PANDA), "--task", "lift", "--operator", "keyboard"]) != 0
    assert "found --task beside it" in capsys.readouterr().err
