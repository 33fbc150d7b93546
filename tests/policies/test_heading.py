"""A policy in a thing's frame: what it sees does not depend on how the scene lies, and what it does turns with it."""

import numpy as np
import pytest
import torch

from policies.consistency import ConsistencyConfig
from policies.diffusion import DiffusionConfig
from policies.networks.heading import Heading
from robolearn.errors import SpecError
from robolearn.geometry import quaternion_from_rotation_vector, quaternion_multiply, quaternion_to_matrix, rotate, yaw
from robolearn.learn.normaliser import Moments
from robolearn.specs import ArraySpec

OBSERVED = {
    "tool.position": ArraySpec((3,)),
    "tool.quaternion": ArraySpec((4,)),
    "gripper.width": ArraySpec((1,)),
    "tee.position": ArraySpec((3,)),
    "tee.quaternion": ArraySpec((4,)),
    "goal.place": ArraySpec((3,)),
    "jar.place": ArraySpec((2,)),
}
ACTIONS = {"arm.delta": ArraySpec((6,), low=-2.0, high=2.0), "gripper.command": ArraySpec((1,), low=-1.0, high=1.0)}


def draw(n, history=2, horizon=4):
    generator = np.random.default_rng(3)
    seen = {name: generator.normal(0.0, 0.3, (n, history, *spec.shape)) for name, spec in OBSERVED.items()}
    for name in ("tool", "tee"):
        seen[f"{name}.quaternion"] = quaternion_from_rotation_vector(generator.normal(0.0, 1.0, (n, history, 3)))
    done = {name: generator.normal(0.0, 0.3, (n, horizon, *spec.shape)) for name, spec in ACTIONS.items()}
    return ({name: torch.as_tensor(x) for name, x in arrays.items()} for arrays in (seen, done))


def spin(arrays, angle):
    """The same scenes, turned about the vertical by angles (n,), as rigid bodies turn."""
    turn = quaternion_from_rotation_vector(np.stack([0 * angle, 0 * angle, angle], -1))[:, None]
    turned = {}
    for name, x in arrays.items():
        x = np.asarray(x)
        if name.endswith(".quaternion"):
            x = quaternion_multiply(turn, x)
        elif name.endswith(".position"):
            x = rotate(turn, x)
        elif name.endswith(".place"):
            flat = np.concatenate([x[..., :2], np.zeros((*x.shape[:2], 1))], -1)
            x = np.concatenate([rotate(turn, flat)[..., :2], x[..., 2:] + angle[:, None, None]], -1)
        elif name == "arm.delta":
            x = np.concatenate([rotate(turn, x[..., :3]), rotate(turn, x[..., 3:])], -1)
        turned[name] = torch.as_tensor(x)
    return turned


def close(a, b):
    """Equal arrays; quaternions as rotations, yaws as directions."""
    for name, x in a.items():
        x, y = x.numpy(), b[name].numpy()
        if name.endswith(".quaternion"):
            x, y = quaternion_to_matrix(x), quaternion_to_matrix(y)
        elif name == "goal.place":
            x, y = (np.concatenate([v[..., :2], np.cos(v[..., 2:]), np.sin(v[..., 2:])], -1) for v in (x, y))
        np.testing.assert_allclose(x, y, atol=1e-5, err_msg=name)
    return True


def test_a_scene_that_lies_another_way_is_the_same_scene_in_the_frame():
    seen, done = draw(50)
    heading = Heading("tee", OBSERVED, ACTIONS)
    angle = np.random.default_rng(0).uniform(-np.pi, np.pi, 50)
    seen_too, done_too = spin(seen, angle), spin(done, angle)
    assert close(heading.see(seen), heading.see(seen_too))
    assert close(heading.enter(done, seen), heading.enter(done_too, seen_too))
    assert close(heading.leave(heading.enter(done, seen), seen), done)
    assert not np.allclose(heading.enter(done, seen)["arm.delta"], done["arm.delta"])


def test_the_frame_is_the_newest_heading_and_rigid():
    seen, done = draw(50)
    flat = quaternion_from_rotation_vector(np.random.default_rng(1).normal(0, 2, (50, 2, 1)) * [0.0, 0.0, 1.0])
    seen["tee.quaternion"] = torch.as_tensor(flat)
    heading = Heading("tee", OBSERVED, ACTIONS)
    inside = heading.see(seen)
    np.testing.assert_allclose(yaw(inside["tee.quaternion"].numpy()[:, -1]), 0.0, atol=1e-5)
    assert close(inside, spin(seen, -yaw(flat[:, -1])))
    assert close(heading.enter(done, seen), spin(done, -yaw(flat[:, -1])))


def test_a_thing_upside_down_is_not_turned():
    seen, _ = draw(2)
    seen["tee.quaternion"][:] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    assert close(Heading("tee", OBSERVED, ACTIONS).see(seen), seen)


def models():
    statistics = {}
    for name, spec in {**OBSERVED, **{f"action.{n}": s for n, s in ACTIONS.items()}}.items():
        end = np.ones(spec.shape)
        statistics[name] = Moments(-end, end, 0 * end, end)
    torch.manual_seed(0)
    settings = {"history": 2, "horizon": 4, "chunk": 4, "width": 16, "depth": 1, "dropout": 0.0, "relative": True}
    settings |= {"observations": tuple(name for name in OBSERVED if name != "tool.quaternion")}
    for cls in (DiffusionConfig, ConsistencyConfig):
        for frame in ("", "tee"):
            yield cls, frame, cls(frame=frame, **settings).build(OBSERVED, ACTIONS, statistics).eval()


def test_what_a_policy_does_turns_with_the_scene_only_in_a_frame():
    seen, _ = draw(30)
    angle = np.random.default_rng(0).uniform(-np.pi, np.pi, 30)
    turned, noise = spin(seen, angle), np.arange(30, dtype=np.uint64)
    for _, frame, model in models():
        first, second = (model.predict({n: x.numpy() for n, x in one.items()}, noise) for one in (seen, turned))
        expected = spin({n: torch.as_tensor(x) for n, x in first.items()}, angle)["arm.delta"].numpy()
        assert (np.abs(expected - second["arm.delta"]).max() < 1e-4) == (frame == "tee")


def test_a_policy_in_a_frame_learns_the_same_from_a_scene_that_lies_another_way():
    seen, done = draw(16)
    angle = np.random.default_rng(0).uniform(-np.pi, np.pi, 16)
    mask = torch.ones(16, 4, dtype=torch.bool)
    for cls, frame, model in models():
        if cls is DiffusionConfig:
            first, second = (
                model.loss({"observation": o, "action": a, "mask": mask}, torch.Generator().manual_seed(5))[0].item()
                for o, a in ((seen, done), (spin(seen, angle), spin(done, angle)))
            )
            assert (first == pytest.approx(second, rel=1e-4)) == (frame == "tee")


def test_what_nobody_knows_how_to_turn_is_refused():
    with pytest.raises(SpecError, match=r"found also: tool\.force"):
        Heading("tee", {**OBSERVED, "tool.force": ArraySpec((3,))}, ACTIONS)
    with pytest.raises(SpecError, match=r"found also: action arm\.q_target"):
        Heading("tee", OBSERVED, {"arm.q_target": ArraySpec((7,))})
    with pytest.raises(SpecError, match=r"found 'cup'. Possible: tool, tee"):
        Heading("cup", OBSERVED, ACTIONS)
    with pytest.raises(SpecError, match="set relative too, or no frame"):
        DiffusionConfig(frame="tee").build(OBSERVED, ACTIONS, {})
