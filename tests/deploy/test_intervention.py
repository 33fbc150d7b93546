"""A person takes over from a policy on a bench: who moves the arm when, and what happens when the person is lost."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.clock import FakeClock
from robolearn.compose import Intervene
from robolearn.data.store import Store
from robolearn.episode import Actor
from robolearn.errors import SafetyFault
from robolearn.observers import Memory
from robolearn.verbs.deploy import attend, run
from teleop.console.desk import Desk, Hand
from teleop.operator import Operated
from teleop.web import WebHand

ROOT = Path(__file__).resolve().parents[2]
STILL, PUSH = np.zeros(6), np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])


class Down:
    """A policy that leads the tool down; before each decision the people do what the script says for that step."""

    observation_spec = {}

    def __init__(self, env, script):
        self.action_spec, self._script = env.action_spec, script

    def reset(self, seeds, rows):
        self.k = -1

    def act(self, observation):
        self.k += 1
        self._script(self.k)
        delta = np.zeros((1, 6))
        delta[:, 2] = -0.004
        return {"arm.delta": delta, "gripper.command": np.full((1, 1), -1.0)}


class Person:
    """Somebody at a page of the desk."""

    def __init__(self, desk, role="operator"):
        self.desk, self.person, self._sequence = desk, desk.join(role), 0

    def beat(self, twist, enable):
        self._sequence += 1
        now = self.desk.clock.now()
        hand = Hand(self._sequence, now, twist, np.zeros(3), np.array([1.0, 0, 0, 0]), -1.0, enable)
        assert self.desk.hand(self.person, hand) == ""


def deployed(script, seeds=(1,), steps=40):
    """What each step was, with the people doing what `script(desk, person, k)` says."""
    import contextlib
    import dataclasses

    clock = FakeClock(50.0)
    file = read_bench(ROOT / "launch" / "benches" / "panda_twin.toml")
    file = dataclasses.replace(file, task=dataclasses.replace(file.task, horizon=steps))
    memory = Memory()
    with open_bench(file, clock, paced=False) as live, contextlib.ExitStack() as stack:
        desk = Desk(clock)
        person = Person(desk)
        operator = Operated(WebHand(desk, pose=False), live.env, clock)
        observers = attend(operator, live, stack)
        policy = Intervene(Down(live.env, lambda k: script(desk, person, k)), operator)
        try:
            run(live, policy, seeds, clock, [memory, *observers])
        except SafetyFault as fault:
            return memory.episodes[seeds[-1]], str(fault)
    return memory.episodes[seeds[-1]], ""


def moved(episode, first, last):
    return episode.observations["tool.position"][last] - episode.observations["tool.position"][first]


def test_a_person_takes_over_gives_back_and_every_step_says_who_it_was():
    def script(desk, person, k):
        if k == 0:
            desk.take_control(person.person)
        person.beat(PUSH if 12 <= k < 24 else STILL, 12 <= k < 24)

    episode, fault = deployed(script)
    assert not fault
    expected = [Actor.INTERVENTION if 12 <= k < 24 else Actor.POLICY for k in range(episode.steps)]
    assert list(episode.actor) == expected
    assert moved(episode, 14, 24)[1] > 0.02
    assert abs(moved(episode, 14, 24)[2]) < 0.01, "the policy moved the arm while the person held it"
    assert moved(episode, 27, 39)[2] < -0.02, "the policy did not go on"
    assert abs(moved(episode, 27, 39)[1]) < 0.01


@pytest.mark.parametrize("gone", ["silent", "closed"])
def test_a_person_lost_in_the_middle_is_waited_for_with_the_arm_at_rest(gone):
    def script(desk, person, k):
        if k == 0:
            desk.take_control(person.person)
        if k < 20:
            person.beat(PUSH if k >= 12 else STILL, k >= 12)
        elif k == 20 and gone == "closed":
            desk.leave(person.person)
        elif k == 60:  # another page, the clutch pressed already: that means nothing
            back[:] = [person if gone == "silent" else Person(desk)]
            desk.take_control(back[0].person)
        if k >= 60:
            back[0].beat(PUSH if k < 70 else STILL, k < 70)

    back = []
    episode, fault = deployed(script, steps=90)
    assert not fault
    assert all(actor == Actor.INTERVENTION for actor in episode.actor[12:70])
    assert np.abs(moved(episode, 28, 70)).max() < 2e-3, "nobody had the arm, and it moved"
    assert all(actor == Actor.POLICY for actor in episode.actor[71:])
    assert moved(episode, 74, 89)[2] < -0.02


@pytest.mark.parametrize("role", ["operator", "adversary", "viewer"])
def test_stop_at_any_page_stops_the_policy(role):
    def script(desk, person, k):
        if k == 10:
            desk.halt(desk.join(role))

    episode, fault = deployed(script)
    assert f"{role} " in fault
    assert "pressed the emergency stop" in fault
    assert episode.steps <= 12


def test_a_person_takes_over_through_the_page_of_a_deployment(patient_bench, exported, tmp_path):
    """The command, its server, a page's WebSocket, the store: as two people would use it, in real time."""
    websockets = pytest.importorskip("websockets", reason="websockets is not installed: pip install -e '.[teleop]'")
    pytest.importorskip("fastapi", reason="fastapi is not installed: pip install -e '.[teleop]'")
    store = tmp_path / "store"
    command = [
        "deploy",
        str(exported),
        "--bench",
        str(patient_bench("panda_twin", horizon=80)),
        "--record",
        str(store),
    ]
    command += ["--intervene", "web", "--intervene.serving.port", "0"]
    seen = []

    async def take_over(url):
        address = url.replace("http://", "ws://").replace("/operator", "/ws/operator")
        async with websockets.connect(address, origin=url.removesuffix("/operator")) as page:

            async def watch():
                async for text in page:
                    if isinstance(text, str) and (message := json.loads(text))["type"] == "state":
                        seen.append(message.get("mode"))

            watching = asyncio.create_task(watch())
            while "POLICY" not in seen[-1:]:
                await asyncio.sleep(0.02)
            await page.send(json.dumps({"type": "control", "take": True}))
            hand = {"type": "hand", "pose": [0, 0, 0, 1, 0, 0, 0], "grip": -1.0}
            began, number = time.monotonic(), 0
            while (since := time.monotonic() - began) < 3.0 and "HUMAN" not in seen[-12:-11]:
                # A machine so busy that the loop stalls for 0.2 s loses the clutch: let go, and press again.
                pushes = since > 0.3 and seen[-1] != "HOLD"
                number += 1
                words = {"seq": number, "time": since, "twist": list(PUSH if pushes else STILL), "enable": pushes}
                await page.send(json.dumps(hand | words))
                await asyncio.sleep(0.02)
            for _ in range(10):
                number += 1
                words = {"seq": number, "time": time.monotonic() - began, "twist": list(STILL), "enable": False}
                await page.send(json.dumps(hand | words))
                await asyncio.sleep(0.02)
            watching.cancel()

    with subprocess.Popen(
        [sys.executable, "-u", "-m", "robolearn.cli", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            asyncio.run(asyncio.wait_for(take_over(said.split(" at ")[-1].strip()), 40))
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    with Store.open(store) as kept:
        episode = kept[kept.ids()[0]]
    taken = np.flatnonzero(episode.actor == Actor.INTERVENTION)
    assert set(episode.actor) == {Actor.POLICY, Actor.INTERVENTION}
    assert episode.actor[0] == episode.actor[-1] == Actor.POLICY
    assert episode.requested["arm.delta"][taken][:, 1].min() >= 0
    assert episode.requested["arm.delta"][taken][:, 1].sum() > 0.01
    tool = episode.observations["tool.position"]
    assert (tool[taken + 1] - tool[taken])[:, 1].sum() > 0.004, "the arm did not follow the person"
    assert np.abs(episode.requested["arm.delta"][taken][:, [0, 2]]).max() < 1e-9, "the policy spoke for the person"
