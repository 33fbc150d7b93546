"""Labels of hand-made episodes, where every frame's right answer is known."""

import itertools

import numpy as np
import pytest

from robolearn.data.cache import build_cache
from robolearn.data.store import Store
from robolearn.data.windows import Windows
from robolearn.episode import Actor, Episode, EpisodeMeta, Event, Outcome
from robolearn.errors import SpecError
from robolearn.scene.density import Net, Units, density, repeats
from robolearn.scene.derived import DERIVED, derived_cache, derived_spec
from robolearn.scene.labels import Source, act_rates, label_episode
from robolearn.scene.subtasks import Subtask
from robolearn.scene.view import Moment, read_scene, token_bag, view, words
from robolearn.specs import ArraySpec

COMMANDS = ("Put the kiwi into the bowl.", "Put the plum into the bowl.")
RATE_HZ = 20.0
XYZ = ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z"))
SPEC = {
    "tool.position": XYZ,
    "gripper.width": ArraySpec((1,), unit="m"),
    "kiwi.position": XYZ,
    "plum.position": XYZ,
    "bowl.position": XYZ,
    "task.command": ArraySpec((2,), names=COMMANDS),
}
KIWI, PLUM, BOWL = np.array([0.4, 0.2, 0.03]), np.array([0.4, -0.2, 0.03]), np.array([0.6, 0.0, 0.0])


def episode(tool, *, kiwi=None, command=0, notes=None, events=(), width=0.08, extra=None):
    """An episode of len(tool) - 1 steps whose told command is what the events say."""
    steps = len(tool) - 1
    still = lambda position: np.repeat(position[None], steps + 1, axis=0)  # noqa: E731
    action = {"arm.delta": ArraySpec((3,))}
    told = np.zeros((steps + 1, 2))
    told[:, command] = 1
    for event in events:
        if event.kind == "SET_CMD" and event.accepted:
            told[round(event.time * RATE_HZ) + 1 :] = np.eye(2)[COMMANDS.index(event.params["instruction"])]
    return Episode(
        SPEC,
        action,
        {
            "tool.position": np.asarray(tool, float),
            "gripper.width": np.full((steps + 1, 1), width),
            "kiwi.position": still(KIWI) if kiwi is None else np.asarray(kiwi, float),
            "plum.position": still(PLUM),
            "bowl.position": still(BOWL),
            "task.command": told,
        },
        {"arm.delta": np.zeros((steps, 3))},
        {"arm.delta": np.zeros((steps, 3))},
        np.full(steps, Actor.SCRIPT, np.int8),
        np.arange(steps + 1) / RATE_HZ,
        Outcome.SUCCESS,
        EpisodeMeta("toy", "Put something somewhere.", RATE_HZ, extra=extra or {}),
        notes or {},
        tuple(events),
    )


def told(k, text=COMMANDS[1], **params):
    return Event("SET_CMD", k / RATE_HZ, k / RATE_HZ, "rule", params={"instruction": text, **params})


def above(place, height):
    return place + np.array([0.0, 0.0, height])


def line(*corners, steps):
    """A path with `steps` steps between each two corners."""
    parts = [a + (b - a) * np.arange(steps)[:, None] / steps for a, b in itertools.pairwise(corners)]
    return np.concatenate([*parts, corners[-1][None]])


HOME = np.array([0.4, 0.0, 0.3])


def test_commands_name_what_to_take_and_where_to():
    scene = read_scene(SPEC)
    assert scene.things == ("kiwi", "plum", "bowl")
    assert scene.goals.tolist() == [[0, 2], [1, 2]]
    assert words(COMMANDS) == ("kiwi", "plum")
    assert token_bag("Take the PLUM, please", ("kiwi", "plum")).tolist() == [0.0, 1.0]


def test_a_scene_needs_a_tool_and_a_thing():
    with pytest.raises(SpecError, match=r'"tool.position" and the position of at least one thing'):
        read_scene({"tool.position": XYZ})
    with pytest.raises(SpecError, match="names none of the things kiwi"):
        read_scene({**SPEC, "task.command": ArraySpec((1,), names=("Dance.",))})


def test_a_new_command_is_aligned_to_the_frame_of_the_operators_note():
    """Told at frame 10, noted at frame 17: the three labels switch at exactly these frames."""
    tool = line(HOME, above(KIWI, 0.1), above(PLUM, 0.1), steps=20)
    goal = np.where(np.arange(40) < 17, 0, 1).astype(np.int8)
    found = label_episode(episode(tool, notes={"goal": goal}, events=[told(10)]))
    frames = np.arange(40)
    assert np.array_equal(found.commanded, (frames >= 10).astype(int))
    assert np.array_equal(found.aligned, (frames >= 17).astype(int))
    assert np.array_equal(found.transition, (frames >= 10) & (frames < 17))
    (switch,) = found.switches
    assert (switch.old, switch.new, switch.evidence) == (0, 1, "note")
    assert switch.react_s == pytest.approx(17 / RATE_HZ)


def test_without_a_note_the_heading_tells():
    """Toward the kiwi until frame 20, from then on toward the plum."""
    tool = line(HOME, above(KIWI, 0.2), above(PLUM, 0.2), steps=20)
    found = label_episode(episode(tool, events=[told(14)]))
    assert found.switches[0].evidence == "heading"
    assert np.flatnonzero(found.aligned)[0] == 20
    late = label_episode(episode(tool, events=[told(14, t_seen=25 / RATE_HZ)]))
    assert np.flatnonzero(late.aligned)[0] == 25  # nobody serves what he has not seen
    unknown = label_episode(episode(tool, events=[told(14, t_seen=None)]))
    assert np.flatnonzero(unknown.aligned)[0] == 20  # nobody acknowledged it: the motion tells
    still = label_episode(episode(np.repeat(HOME[None], 41, axis=0), events=[told(10)]))
    assert still.switches[0].evidence == "timeout"
    assert np.flatnonzero(still.aligned)[0] == 24  # 0.7 s


def test_a_command_that_was_taken_back_before_anybody_moved_was_never_served():
    goal = np.zeros(40, np.int8)
    found = label_episode(
        episode(line(HOME, KIWI, HOME, steps=20), notes={"goal": goal}, events=[told(10), told(14, COMMANDS[0])])
    )
    assert np.all(found.aligned == 0)
    assert np.flatnonzero(found.commanded).tolist() == [10, 11, 12, 13]


def test_refused_commands_change_nothing_and_foreign_ones_are_an_error():
    refused = Event("SET_CMD", 0.5, 0.5, params={"instruction": COMMANDS[1]}, accepted=False, reason="no")
    assert np.all(label_episode(episode(line(HOME, KIWI, steps=20), events=[refused])).commanded == 0)
    bad = Event("SET_CMD", 0.5, 0.5, params={"instruction": COMMANDS[1]})
    object.__setattr__(bad, "params", {"instruction": "Dance."})
    made = episode(line(HOME, KIWI, steps=20))
    object.__setattr__(made, "events", (bad,))
    with pytest.raises(SpecError, match=r"was told 'Dance.'; expected one of: Put the kiwi"):
        label_episode(made)


def carry():
    """The kiwi is taken at frame 10, lifted, carried to the bowl until frame 30, let go of at 40; the tool leaves."""
    corners = (HOME, KIWI, above(KIWI, 0.15), above(BOWL, 0.15), above(BOWL, 0.04), above(BOWL, 0.3))
    tool = line(*corners, steps=10)
    kiwi = np.where((np.arange(len(tool)) < 10)[:, None], KIWI, tool)
    kiwi[40:] = above(BOWL, 0.02)
    return tool, kiwi


def test_the_phases_of_a_pick_come_in_their_order():
    tool, kiwi = carry()
    codes = label_episode(episode(tool, kiwi=kiwi)).subtask
    order = [Subtask(int(c)).name for before, c in itertools.pairwise(codes) if c != before]
    assert order == ["GRASP", "LIFT", "TRANSPORT", "PLACE", "RELEASE"]


def test_holding_what_is_no_longer_wanted_is_an_abort():
    tool, kiwi = carry()
    goal = np.where(np.arange(len(tool) - 1) < 20, 0, 1)
    codes = label_episode(episode(tool, kiwi=kiwi, notes={"goal": goal}, events=[told(18)])).subtask
    assert Subtask.ABORT not in codes[:20]
    assert np.all(codes[20:26] == Subtask.ABORT)


def test_noted_phases_count_where_they_are_ours():
    tool, kiwi = carry()
    note = np.zeros(len(tool) - 1, np.int8)
    note[5:] = 1
    made = episode(tool, kiwi=kiwi, notes={"subtask": note}, extra={"subtasks": ["RECOVER", ""]})
    codes = label_episode(made).subtask
    assert np.all(codes[:5] == Subtask.RECOVER)
    assert np.array_equal(codes[5:], label_episode(episode(tool, kiwi=kiwi)).subtask[5:])


def test_what_was_done_instead_is_known_afterwards():
    """Told to take the plum all along, the operator brought the kiwi: hindsight says so, the other labels stay."""
    tool, kiwi = carry()
    found = label_episode(episode(tool, kiwi=kiwi, command=1))
    (placed,) = found.placements
    assert (placed.thing, placed.place) == (0, 2)
    assert np.all(found.commanded == 1)
    assert np.all(found.aligned == 1)
    assert np.all(found.hindsight[: placed.frame + 1] == 0)
    assert np.all(found.source[: placed.frame + 1] == Source.HINDSIGHT)
    assert np.all(found.hindsight[placed.frame + 1 :] == 1)
    with pytest.raises(SpecError, match="A label is one of commanded, aligned, hindsight; found 'best'"):
        found.of("best")


def test_frames_under_a_disturbance_are_marked_with_its_number():
    drag = Event("MOVE_OBJ", 0.5, 1.0, "rule", "kiwi")
    refused = Event("MOVE_OBJ", 0.2, 0.2, "rule", "kiwi", accepted=False, reason="no")
    found = label_episode(episode(line(HOME, KIWI, steps=40), events=[refused, drag]))
    assert np.flatnonzero(found.disturbed).tolist() == list(range(10, 21))
    assert set(found.event[found.disturbed]) == {1}
    assert act_rates([episode(line(HOME, KIWI, steps=40), events=[refused, drag])]) == {"MOVE_OBJ": 0.5}


def test_training_sees_the_label_it_asked_for(tmp_path):
    tool = line(HOME, above(KIWI, 0.1), above(PLUM, 0.1), steps=20)
    goal = np.where(np.arange(40) < 17, 0, 1).astype(np.int8)
    with Store.open_or_create(tmp_path) as store:
        store.append(episode(tool, notes={"goal": goal}, events=[told(10)]))
        cache = build_cache(store)
        firsts = {}
        for label in ("commanded", "aligned", "drop"):
            found = derived_cache(cache, store, label)
            assert set(derived_spec(cache.observation_spec)) == set(DERIVED)
            firsts[label] = int(np.flatnonzero(found.arrays["scene.words"][:, 1])[0])
            seen = Windows(found, 1, 1, ["scene.words"])
            assert len(seen) == (33 if label == "drop" else 40)
            assert found.key != cache.key
        assert firsts == {"commanded": 10, "aligned": 17, "drop": 17}
        # What was recorded is as it was: the observation shows the command one frame after it was given.
        assert np.flatnonzero(cache.arrays["task.command"][:, 1])[0] == 11
        gap = derived_cache(cache, store).arrays["scene.things"][3, 1, :3]
        np.testing.assert_allclose(gap, PLUM - tool[3])
        with pytest.raises(SpecError, match="A label for training is one of commanded, aligned, hindsight, drop"):
            derived_cache(cache, store, "best")


def test_the_view_is_the_same_for_one_frame_and_many():
    made = episode(line(HOME, KIWI, steps=10))
    scene, arrays = read_scene(SPEC), made.observations
    many = view(scene, arrays)
    one = view(scene, {name: value[4] for name, value in arrays.items()})
    for name in many._fields:
        np.testing.assert_array_equal(getattr(many, name)[4], getattr(one, name), err_msg=name)
    assert many.moment[0] == Moment.BEFORE
    assert many.moment[-1] == Moment.DURING


def test_density_counts_what_differs():
    still = episode(np.repeat(HOME[None], 51, axis=0))
    moving = episode(line(HOME, KIWI, steps=50))
    assert density([still]).situations == 1
    assert density([still]).redundancy == pytest.approx(49 / 50)
    assert density([moving]).situations > 4
    once, twice = density([moving]), density([moving, moving])
    assert twice.situations == once.situations  # the second time says nothing new
    assert twice.per_episode == once.situations / 2
    assert density([moving, episode(line(HOME, PLUM, steps=50), command=1)]).situations > once.situations


def test_a_net_covers_everything_and_its_points_are_apart():
    random = np.random.default_rng(0)
    found = Units(random.normal(size=(400, 3)), random.integers(0, 2, 400))
    net = Net()
    new = net.add(found)
    assert len(net) == new
    for kind, points in net.points.items():
        array = np.array(points)
        apart = np.linalg.norm(array[:, None] - array, axis=-1) + 9 * np.eye(len(array))
        assert apart.min() > 1.0
        near = np.linalg.norm(found.phi[found.kind == kind][:, None] - array, axis=-1).min(axis=1)
        assert near.max() <= 1.0
    assert net.add(found) == 0
    assert repeats(Units(np.zeros((5, 3)), np.array([0, 0, 1, 1, 0]))).tolist() == [False, True, False, True, True]
