"""A whole session on a fake clock, with the real twin: practice, record, disturb, review, keep."""

import numpy as np
import pytest
from people import PUSH, Page, ScriptedClock, bench, done, session

from robolearn.episode import Actor, Outcome, Perturbation
from robolearn.rollout import episode_seeds
from teleop.console.clocks import ClientClock


def test_two_people_record_one_episode_with_everything_in_it(store):
    clock = ScriptedClock()
    console, env, live = session(clock, store, adversary="web", seed=4)
    desk = console.desk
    page, other = Page(clock, desk), desk.join("adversary")
    other.clock, page.person.clock = ClientClock(3.5, 0.01), ClientClock(5000.0, 0.02)
    assert desk.take_control(page.person) == ""

    def press():
        page.twist, page.enable = PUSH, True

    def release():
        page.twist, page.enable = np.zeros(6), False

    answers = []
    clock.after(0.3, lambda: desk.act(other, 1, Perturbation("SLIP")))  # practice: nothing is disturbed
    clock.after(0.5, lambda: desk.wish(page.person, "start"))
    clock.after(0.8, press)
    clock.after(1.6, release)
    free = next(text for text in env.observation_spec["task.command"].names if text != console.status().get("text"))
    clock.after(1.0, lambda: desk.act(other, 2, Perturbation("PUSH_ROBOT", "", {"fy": 20.0}), time=clock.now() - 3.5))

    def tell():
        now = console.status()["instruction"]["text"]
        new = next(t for t in env.observation_spec["task.command"].names if t != now)
        desk.act(other, 3, Perturbation("SET_CMD", instruction=new), time=clock.now() - 3.5)

    clock.after(2.1, tell)
    seen = []

    def look():  # the page shows a new command 80 ms after the server has it
        number = console.status()["instruction"]["number"]
        if number > len(seen):
            seen.append(number)
            clock.after(0.08, lambda: desk.seen(page.person, number, clock.now() - 5000.0))
        return len(seen) < 2

    clock.every(0.01, look)
    clock.after(3.0, lambda: answers.extend(console.take_results(other.id)))
    clock.after(3.0, lambda: desk.wish(page.person, "stop"))
    shown = []
    clock.after(3.4, lambda: shown.append(console.review()))
    clock.after(3.5, lambda: desk.wish(page.person, "accept"))
    (id,) = live.run()

    episode = store[id]
    assert episode.outcome is Outcome.FAILURE, "the goal was not reached, and nobody said otherwise"
    assert episode.meta.seed == episode_seeds(1, 4)[0]
    assert episode.meta.instruction in env.observation_spec["task.command"].names
    assert set(episode.actor.tolist()) == {Actor.OPERATOR}
    assert episode.steps == pytest.approx(2.5 * 20, abs=3)
    moved = episode.actions["arm.delta"][:, 1]
    engaged = episode.notes["engaged"]
    assert np.all(moved[engaged][3:-1] > 0.01)
    assert engaged.sum() == pytest.approx(0.8 * 20, abs=3)
    y = episode.observations["tool.position"][:, 1]
    assert y[-1] - y[0] == pytest.approx(0.8 * 0.25, abs=0.03), "the tool went where the hand pointed, at its speed"

    kinds = [(e.kind, e.source, e.accepted) for e in done(episode)]
    assert kinds == [("PUSH_ROBOT", "human", True), ("SET_CMD", "human", True)]
    push, told = done(episode)
    assert push.params["t_offset"] == 3.5
    assert push.params["t_server"] - push.params["t_client"] == pytest.approx(3.5)
    assert push.params["person"] == "adversary 1"
    assert told.params["t_cmd"] == told.time
    assert 0.05 < told.params["t_seen"] - told.params["t_cmd"] < 0.15
    assert told.params["t_seen_client"] + 5000.0 == pytest.approx(told.params["t_seen"])
    assert told.params["t_seen_offset"] == 5000.0
    assert told.params["instruction"] != episode.meta.instruction
    assert [(a["number"], a["accepted"]) for a in answers] == [(2, True), (3, True)]
    (review,) = shown
    assert review["id"] == id
    assert len(review["times"]) == episode.steps + 1
    assert [e["kind"] for e in review["events"]] == ["PUSH_ROBOT", "SET_CMD"]
    assert review["proposed"] == "failure"
    coverage = console.coverage()
    assert np.sum(coverage["grid"]) == 5
    assert np.sum(coverage["pairs"]) == 2
    assert free


@pytest.mark.parametrize(("word", "kept"), [("reject", False), ("rerecord", True)])
def test_rejecting_takes_the_next_start_and_recording_again_the_same(store, word, kept):
    clock = ScriptedClock()
    console, _, live = session(clock, store)
    desk = console.desk
    page = Page(clock, desk)
    says = ["start", "stop", word, "start", "stop", "success"]
    for k, what in enumerate(says):
        clock.after(0.5 * (k + 1), lambda what=what: desk.wish(page.person, what))
    (id,) = live.run()
    first, second = episode_seeds(2, 0)
    assert store[id].meta.seed == (first if kept else second)
    assert store[id].outcome is Outcome.SUCCESS, "the person has the last word"
    assert len(store) == 1


def test_an_unseen_command_is_written_down_without_t_seen(store):
    clock = ScriptedClock()
    console, env, live = session(clock, store, adversary="web")
    desk = console.desk
    page, other = Page(clock, desk), desk.join("adversary")
    clock.after(0.3, lambda: desk.wish(page.person, "start"))
    names = env.observation_spec["task.command"].names

    def tell():
        new = next(t for t in names if t != console.status()["instruction"]["text"])
        desk.act(other, 1, Perturbation("SET_CMD", instruction=new))

    clock.after(0.8, tell)
    clock.after(1.2, lambda: desk.wish(page.person, "stop"))
    clock.after(1.6, lambda: desk.wish(page.person, "accept"))
    (id,) = live.run()
    (told,) = done(store[id])
    assert told.kind == "SET_CMD"
    assert told.params["t_seen"] is None


def test_what_an_adversary_mistypes_is_refused_and_answered(store):
    clock = ScriptedClock()
    console, _, live = session(clock, store, adversary="web")
    desk = console.desk
    page, other = Page(clock, desk), desk.join("adversary")
    clock.after(0.3, lambda: desk.wish(page.person, "start"))
    wrong = [
        (Perturbation("MOVE_ROBOT"), "there is no act 'MOVE_ROBOT'"),
        (Perturbation("MOVE_OBJ", "pear"), "no target 'pear'"),
        (Perturbation("MOVE_OBJ", "kiwi", {"dz": 1.0}), "no number 'dz'"),
        (Perturbation("SET_CMD", instruction="Dance."), "this scene understands only"),
        (Perturbation("MOVE_OBJ", "kiwi", {"dx": 0.9}), "not on the table"),
    ]
    for k, (act, _) in enumerate(wrong):
        clock.after(0.5 + 0.6 * k, lambda k=k, act=act: desk.act(other, k, act))
    answers = []
    clock.after(4.0, lambda: answers.extend(console.take_results(other.id)))
    clock.after(4.1, lambda: desk.wish(page.person, "stop"))
    clock.after(4.3, lambda: desk.wish(page.person, "accept"))
    (id,) = live.run()
    assert [a["accepted"] for a in answers] == [False] * 5
    for answer, (_, words) in zip(answers, wrong, strict=True):
        assert words in answer["reason"]
    assert [(e.kind, e.accepted) for e in done(store[id])] == [("MOVE_OBJ", False)]


def test_press_and_hold_logs_a_physical_act_and_slows_the_arm(store):
    clock = ScriptedClock()
    console, _, live = session(clock, store, adversary="web")
    desk = console.desk
    page, other = Page(clock, desk), desk.join("adversary")
    desk.take_control(page.person)
    clock.after(0.3, lambda: desk.wish(page.person, "start"))

    def press():
        page.twist, page.enable = PUSH, True

    clock.after(0.6, press)
    clock.after(1.2, lambda: desk.touch(other, True, "MOVE_OBJ", "cup", clock.now()))
    clock.after(1.8, lambda: desk.touch(other, False, "", "", clock.now()))
    clock.after(2.4, lambda: desk.wish(page.person, "success"))
    clock.after(2.7, lambda: desk.wish(page.person, "accept"))
    (id,) = live.run()
    (touch,) = done(store[id])
    assert (touch.kind, touch.target, touch.source) == ("MOVE_OBJ", "cup", "human")
    assert touch.params["physical"] is True
    assert touch.end - touch.time == pytest.approx(0.6, abs=0.01)
    times, sent = store[id].times[:-1], store[id].requested["arm.delta"][:, 1]
    during = sent[(times > touch.time + 0.1) & (times < touch.end - 0.05)]
    after = sent[times > touch.end + 0.1]
    assert during.max() == pytest.approx(0.3 * after[1:-1].mean(), rel=0.05)


def test_the_scripted_expert_waits_for_the_start_and_then_succeeds(store):
    from robolearn import plugins

    clock = ScriptedClock()
    env = bench(clock)
    expert = plugins.load("teleop", "expert")().operator(env, clock)
    console, env, live = session(clock, store, env=env, operator=expert, seed=2)
    page = Page(clock, console.desk)
    clock.after(1.0, lambda: console.desk.wish(page.person, "start"))

    def done():
        if console.status().get("goal"):
            console.desk.wish(page.person, "stop")
            clock.after(0.5, lambda: console.desk.wish(page.person, "accept"))
            return False
        return True

    clock.every(0.1, done)
    (id,) = live.run()
    episode = store[id]
    assert episode.outcome is Outcome.SUCCESS
    assert set(episode.actor.tolist()) == {Actor.SCRIPT}
    assert episode.steps < 300
    assert env.world.data.warning.number.sum() == 0


def test_what_is_not_possible_now_is_said(store):
    clock = ScriptedClock()
    console, _, live = session(clock, store)
    page = Page(clock, console.desk)
    for k, what in enumerate(["stop", "arm", "disarm", "arm", "start", "start", "stop", "finish", "reject", "finish"]):
        clock.after(0.4 * (k + 1), lambda what=what: console.desk.wish(page.person, what))
    assert live.run() == []
    told = " | ".join(text for _, _, text in console.desk.notices)
    assert "nothing to stop: no episode is being recorded" in told
    assert "cannot start while an episode is recorded" in told
    assert "decide about this episode first" in told
    assert len(store) == 0
    assert not list((store.path / "recording").glob("*")) if (store.path / "recording").exists() else True
