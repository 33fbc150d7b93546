"""Streams that follow from others: the words of the command, things as seen from the tool, the hand.

A policy that is told what to do needs the command as numbers and the scene in a form in which "that thing" can be
pointed at. Both follow from what is recorded, so they are computed and never stored: for training from a cache, with
the command replaced by the label one chooses (`robolearn.scene.labels`), and for acting by wrapping the model. (What a
program computed once and keeps beside an episode is another matter: `robolearn.data.derived`.)

    scene.words   (V,)    1 for each word of the command that tells it from others (a bag of tokens; nothing pretrained)
    scene.things  (K, 8)  per thing: gap to the tool in m, tanh(gap / 4 cm), (cos, sin) of twice its axis' heading
    scene.hand    (4,)    (cos, sin) of the tool's heading, its height above the table, the opening of the gripper
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robolearn.contracts import ChunkModel
from robolearn.data.cache import Cache
from robolearn.data.store import Store
from robolearn.errors import SpecError
from robolearn.geometry import quaternion_to_matrix
from robolearn.scene.labels import MODES, label_episode
from robolearn.scene.view import COMMAND, Scene, heading, read_scene, token_bag, words
from robolearn.specs import Array, Arrays, ArraySpec, Spec

__all__ = ["DERIVED", "DROP", "Deriving", "derive", "derived_cache", "derived_spec", "deriving"]

DERIVED = ("scene.words", "scene.things", "scene.hand")
DROP = "drop"
"""The label "aligned", without the frames between a command and the first motion that serves it."""
CLOSE_M = 0.04
"""Scale on which a gap counts near a thing."""


def derived_spec(spec: Spec) -> dict[str, ArraySpec]:
    """The derived streams of a scene's observations.

    Raises:
        SpecError: They hold no scene (see `robolearn.scene.view.read_scene`).
    """
    scene = read_scene(spec)
    found = {"scene.things": ArraySpec((len(scene.things), 8)), "scene.hand": ArraySpec((4,))}
    if vocabulary := words(scene.commands):
        found["scene.words"] = ArraySpec((len(vocabulary),), low=0.0, high=1.0, names=vocabulary)
    return found


def derive(scene: Scene, arrays: Arrays, command: Array | None = None) -> dict[str, Array]:
    """The derived streams of arrays with any leading axes L.

    Args:
        scene: The names.
        arrays: Observations (L, ...).
        command: (L) the command, instead of the one that is observed.
    """
    tool = arrays["tool.position"]
    lead = tool.shape[:-1]
    things: list[Array] = []
    for name in scene.things:
        gap = arrays[f"{name}.position"] - tool
        quaternion = arrays.get(f"{name}.quaternion")
        double = np.zeros(lead)
        if quaternion is not None:
            axis = quaternion_to_matrix(quaternion)[..., :2, 0]
            double = 2.0 * np.arctan2(axis[..., 1], axis[..., 0])
        turn = np.stack([np.cos(double), np.sin(double)], axis=-1)
        things.append(np.concatenate([gap, np.tanh(gap / CLOSE_M), turn], axis=-1))
    yaw = heading(scene, arrays)
    height = tool[..., 2] - (arrays["table.place"][..., 0] if scene.table else 0.0)
    width = arrays["gripper.width"][..., 0] if "gripper.width" in arrays else np.zeros(lead)
    found = {
        "scene.things": np.stack(things, axis=-2),
        "scene.hand": np.stack([np.cos(yaw), np.sin(yaw), height, width], axis=-1),
    }
    if vocabulary := words(scene.commands):
        bags = np.stack([token_bag(text, vocabulary) for text in scene.commands])
        told = np.argmax(arrays[COMMAND], axis=-1) if command is None else command
        found["scene.words"] = bags[told]
    return found


def derived_cache(cache: Cache, store: Store, label: str = "aligned") -> Cache:
    """A cache with the derived streams beside what was recorded, the command being a label.

    Args:
        cache: All observations of the scene.
        store: Where its episodes are, for their events and notes.
        label: One of `robolearn.scene.labels.MODES`, or "drop".

    Raises:
        SpecError: Another label, or a cache that does not have the frames of its episodes (another rate).
    """
    if label not in (*MODES, DROP):
        raise SpecError(f"A label for training is one of {', '.join((*MODES, DROP))}; found {label!r}.")
    scene = read_scene(cache.observation_spec)
    command, transition = np.zeros(cache.rows, np.int64), np.zeros(cache.rows, bool)
    for id, start, length in zip(cache.ids, cache.starts, cache.lengths, strict=True):
        log = store.log(id, pictures=False)
        if log.episode is None or log.episode.steps != length:
            steps = log.episode.steps if log.episode else 0
            raise SpecError(
                f"Labels belong to frames as they were recorded: episode {id} has {steps} of them, the cache {length}. "
                "Build the cache without rate_hz."
            )
        found = label_episode(log.episode)
        here = slice(int(start), int(start + length + 1))  # the last observation keeps the last label
        command[here] = np.append(values := found.of("aligned" if label == DROP else label), values[-1])
        transition[here] = np.append(found.transition, False)
    extra = derive(scene, {name: np.asarray(cache.arrays[name]) for name in _needed(cache.observation_spec)}, command)
    spec = derived_spec(cache.observation_spec)
    stale = {
        name: transition if label == DROP and name == "scene.words" else np.zeros(cache.rows, bool) for name in spec
    }
    return replace(
        cache,
        key=f"{cache.key}-{label}",
        arrays={**cache.arrays, **extra},
        stale={**cache.stale, **stale},
        observation_spec={**cache.observation_spec, **spec},
    )


def _needed(spec: Spec) -> list[str]:
    return [name for name, one in spec.items() if not one.is_image]


def deriving(model: ChunkModel, spec: Spec) -> ChunkModel:
    """The model as one that needs nothing but what is observed: derived streams are computed on the way to it.

    Args:
        model: Any; one that needs no derived streams is returned as it is.
        spec: The observations there are.

    Raises:
        SpecError: They hold no scene, or another one than the model was trained for.
    """
    wanted = [name for name in model.observation_spec if name in DERIVED and name not in spec]
    return Deriving(model, spec) if wanted else model


class Deriving:
    """A `ChunkModel` around one that needs derived streams. Build it with `deriving`."""

    def __init__(self, model: ChunkModel, spec: Spec):
        self._model, self._scene = model, read_scene(spec)
        there = derived_spec(spec)
        for name, wanted in model.observation_spec.items():
            if name in DERIVED and (name not in there or there[name] != wanted):
                raise SpecError(
                    f"The policy was trained for another scene: it needs {name} {wanted.shape} {wanted.names or ''}, "
                    f"and from {', '.join(self._scene.things)} follows "
                    f"{(there[name].shape, there[name].names) if name in there else 'no such stream'}."
                )
        things = [f"{thing}.{kind}" for thing in self._scene.things for kind in ("position", "quaternion")]
        needed = {"tool.position", "tool.quaternion", "gripper.width", "table.place", COMMAND, *things}
        self._observation_spec = {n: s for n, s in spec.items() if n in needed or n in model.observation_spec}

    @property
    def observation_spec(self) -> Spec:
        return self._observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._model.action_spec

    @property
    def history(self) -> int:
        return self._model.history

    @property
    def chunk(self) -> int:
        return self._model.chunk

    def predict(self, observations: Arrays, noise: Array) -> Arrays:
        seen = {**observations, **derive(self._scene, observations)}
        return self._model.predict({name: seen[name] for name in self._model.observation_spec}, noise)
