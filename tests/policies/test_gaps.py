"""Policies that see gaps: nothing absolute is left, the equations hold, and the whole way from store to ONNX works."""

import numpy as np
import pytest
import torch

from policies.diffusion import DiffusionConfig
from policies.networks.encoders import choose
from policies.networks.gaps import FAR_M, NEAR_M, Gaps, absolute
from policies.regression import RegressionConfig
from robolearn.errors import SpecError
from robolearn.geometry import (
    quaternion_conjugate,
    quaternion_from_rotation_vector,
    quaternion_multiply,
    quaternion_to_matrix,
    rotate,
)
from robolearn.learn.normaliser import Moments
from robolearn.specs import ArraySpec

SPEC = {
    "arm.q": ArraySpec((7,)),
    "tool.position": ArraySpec((3,)),
    "tool.quaternion": ArraySpec((4,)),
    "gripper.width": ArraySpec((1,)),
    "tee.position": ArraySpec((3,)),
    "tee.quaternion": ArraySpec((4,)),
    "ball.position": ArraySpec((3,)),
    "goal.place": ArraySpec((3,)),
    "jar.place": ArraySpec((2,)),
    "screw.turn": ArraySpec((1,)),
}


def draw(n, seed=0):
    generator = np.random.default_rng(seed)
    found = {name: generator.normal(0.0, 0.2, (n, *spec.shape)) for name, spec in SPEC.items()}
    for name in found:
        if name.endswith("quaternion"):
            found[name] = quaternion_from_rotation_vector(generator.normal(0.0, 1.0, (n, 3)))
    return found


def tensors(arrays):
    return {name: torch.tensor(value) for name, value in arrays.items()}


def turned(gap, angle):
    """Plane vectors (n, 2) in frames turned by angles (n,)."""
    x, y = gap[:, 0], gap[:, 1]
    return np.stack([np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x], axis=1)


def test_sizes_and_values_are_those_of_the_equations():
    gaps, seen = Gaps(SPEC), draw(5)
    found = gaps(tensors(seen)).numpy()
    assert found.shape == (5, gaps.size)
    tool, tee = seen["tool.position"], seen["tee.position"]
    parts = [tool[:, 2:] / FAR_M]
    matrix = {name: quaternion_to_matrix(seen[f"{name}.quaternion"]) for name in ("tee", "tool")}
    parts += [np.concatenate([m[:, :, 0], m[:, :, 1]], axis=1) for m in matrix.values()]
    for thing in ("tee", "ball"):
        gap = seen[f"{thing}.position"] - tool
        parts += [gap / FAR_M, np.tanh(gap / NEAR_M)]
        if thing == "tee":
            gap = rotate(quaternion_conjugate(seen["tee.quaternion"]), gap)
            parts += [gap / FAR_M, np.tanh(gap / NEAR_M)]
    goal, jar = seen["goal.place"], seen["jar.place"]
    turn = goal[:, 2]
    for start in (tool, tee, seen["ball.position"]):
        gap = goal[:, :2] - start[:, :2]
        own = turned(gap, turn)
        parts += [gap / FAR_M, np.tanh(gap / NEAR_M), own / FAR_M, np.tanh(own / NEAR_M)]
    heading = np.arctan2(matrix["tee"][:, 1, 0], matrix["tee"][:, 0, 0])
    left = turn - heading
    parts.append(np.stack([np.cos(turn), np.sin(turn), np.cos(left), np.sin(left)], axis=1))
    own = turned(goal[:, :2] - tee[:, :2], heading)
    parts += [own / FAR_M, np.tanh(own / NEAR_M)]
    for start in (tool, tee, seen["ball.position"]):
        gap = jar - start[:, :2]
        parts += [gap / FAR_M, np.tanh(gap / NEAR_M)]
    np.testing.assert_allclose(found, np.concatenate(parts, axis=1), atol=1e-5)


def test_a_scene_that_is_moved_as_a_whole_looks_the_same():
    gaps, seen = Gaps(SPEC), draw(5)
    moved = {name: value.copy() for name, value in seen.items()}
    for name in moved:
        if name.endswith((".position", ".place")):
            moved[name][:, :2] += [0.31, -0.17]
    np.testing.assert_allclose(gaps(tensors(seen)), gaps(tensors(moved)), atol=1e-5)
    moved["ball.position"][:, 0] += 0.01
    assert np.abs(gaps(tensors(seen)) - gaps(tensors(moved))).max() > 0.01


def test_what_is_left_to_do_does_not_depend_on_how_both_are_turned():
    spec = {name: SPEC[name] for name in ("tool.position", "tee.position", "tee.quaternion", "goal.place")}
    gaps, seen = Gaps(spec), {name: draw(4)[name] for name in spec}
    turn = quaternion_from_rotation_vector(np.array([0.0, 0.0, 0.7]))
    around = {name: rotate(turn, value) for name, value in seen.items() if name.endswith("position")}
    around["tee.quaternion"] = quaternion_multiply(turn, seen["tee.quaternion"])
    around["goal.place"] = seen["goal.place"] + [0.0, 0.0, 0.7]
    around["goal.place"][:, :2] = turned(seen["goal.place"][:, :2], np.full(4, -0.7))
    before, after = gaps(tensors(seen)), gaps(tensors(around))
    np.testing.assert_allclose(before[:, -6:], after[:, -6:], atol=1e-5)
    assert np.abs(before[:, :-6] - after[:, :-6]).max() > 0.1


def test_the_arm_is_left_out_unless_asked_for_and_the_rest_is_kept():
    chosen = choose((), SPEC, relative=True)
    assert "arm.q" not in chosen
    assert {"gripper.width", "screw.turn", "goal.place"} <= set(chosen)
    assert "arm.q" in choose((), SPEC)
    assert set(absolute(SPEC)) == set(SPEC) - {"gripper.width", "screw.turn"}


def statistics(arrays):
    return {name: Moments(value.min(0), value.max(0), value.mean(0), value.std(0)) for name, value in arrays.items()}


@pytest.mark.parametrize("config", [DiffusionConfig(relative=True), RegressionConfig(relative=True)])
def test_a_policy_acts_alike_wherever_the_scene_stands(config):
    seen, action = draw(6), {"target": ArraySpec((2,), low=-1.0, high=1.0)}
    target = np.random.default_rng(1).uniform(-1.0, 1.0, (6, 2))
    model = config.build(SPEC, action, statistics(seen | {"action.target": target})).eval()
    assert "arm.q" not in model.observation_spec
    history = {
        name: np.repeat(value[:, None], model.history, axis=1).astype(SPEC[name].dtype)
        for name, value in seen.items()
        if name in model.observation_spec
    }
    moved = {name: value.copy() for name, value in history.items()}
    for name in moved:
        if name.endswith((".position", ".place")):
            moved[name][..., :2] += 0.2
    noise = np.arange(6, dtype=np.uint64)
    first, second = model.predict(history, noise), model.predict(moved, noise)
    np.testing.assert_allclose(first["target"], second["target"], atol=1e-4)


def test_what_cannot_be_is_refused():
    with pytest.raises(SpecError, match=r"tool\.position"):
        Gaps({"arm.q": ArraySpec((7,)), "cube.position": ArraySpec((3,))})
    with pytest.raises(SpecError, match="a thing"):
        Gaps({"tool.position": ArraySpec((3,)), "arm.q": ArraySpec((7,))})
    with pytest.raises(SpecError, match="choose one"):
        DiffusionConfig(relative=True, encoder="bottleneck").build(SPEC, {"a": ArraySpec((1,))}, {})
