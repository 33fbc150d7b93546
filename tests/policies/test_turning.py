"""Turned samples: turned as rigid bodies turn, only in training, and only what is understood."""

import numpy as np
import pytest
import torch

from policies.diffusion import DiffusionConfig
from policies.networks.gaps import Gaps
from policies.networks.turning import Turning
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
ACTIONS = {"arm.delta": ArraySpec((6,), low=-1.0, high=1.0), "gripper.command": ArraySpec((1,), low=-1.0, high=1.0)}


def draw(n, history=2, horizon=4):
    generator = np.random.default_rng(3)
    seen = {name: generator.normal(0.0, 0.3, (n, history, *spec.shape)) for name, spec in OBSERVED.items()}
    for name in ("tool", "tee"):
        seen[f"{name}.quaternion"] = quaternion_from_rotation_vector(generator.normal(0.0, 1.0, (n, history, 3)))
    done = {name: generator.normal(0.0, 0.3, (n, horizon, *spec.shape)) for name, spec in ACTIONS.items()}
    return ({name: torch.as_tensor(x) for name, x in arrays.items()} for arrays in (seen, done))


def test_everything_turns_as_one_rigid_body():
    seen, done = draw(50)
    turned, played = (
        {name: x.numpy() for name, x in one.items()}
        for one in Turning(OBSERVED, ACTIONS)(seen, done, torch.Generator().manual_seed(1))
    )
    seen, done = ({name: x.numpy() for name, x in one.items()} for one in (seen, done))
    angle = (turned["goal.place"] - seen["goal.place"])[:, 0, 2]
    assert 0 <= angle.min() < angle.max() < 2 * np.pi
    assert angle.std() > 1.0
    spin = quaternion_from_rotation_vector(np.stack([0 * angle, 0 * angle, angle], -1))[:, None]
    for name in ("tool", "tee"):
        assert np.allclose(turned[f"{name}.position"], rotate(spin, seen[f"{name}.position"]))
        expected = quaternion_to_matrix(quaternion_multiply(spin, seen[f"{name}.quaternion"]))
        assert np.allclose(quaternion_to_matrix(turned[f"{name}.quaternion"]), expected)
    for name in ("goal.place", "jar.place"):
        flat = np.concatenate([seen[name][..., :2], np.zeros((50, 2, 1))], -1)
        assert np.allclose(turned[name][..., :2], rotate(spin, flat)[..., :2])
    for part in (slice(0, 3), slice(3, 6)):  # a displacement and a rotation vector are vectors
        assert np.allclose(played["arm.delta"][..., part], rotate(spin, done["arm.delta"][..., part]))
    assert (turned["gripper.width"] == seen["gripper.width"]).all()
    assert (played["gripper.command"] == done["gripper.command"]).all()
    left = yaw(turned["tee.quaternion"]) - turned["goal.place"][..., 2]
    assert np.allclose(np.exp(1j * left), np.exp(1j * (yaw(seen["tee.quaternion"]) - seen["goal.place"][..., 2])))


def test_what_a_thing_sees_in_its_own_frame_stays():
    """Gaps in the frames of things and places are those of before; only the others differ."""
    seen, done = draw(20)
    gaps = Gaps(OBSERVED)
    turned, _ = Turning(OBSERVED, ACTIONS)(seen, done, torch.Generator().manual_seed(1))
    before, after = gaps(seen), gaps(turned)
    same = (before - after).abs().amax((0, 1)) < 1e-5
    assert 0.4 < same.float().mean() < 0.8


def test_samples_are_turned_in_training_alone_and_the_switch_does_something():
    statistics = {}
    for name, spec in {**OBSERVED, **{f"action.{n}": s for n, s in ACTIONS.items()}}.items():
        end = np.ones(spec.shape)
        statistics[name] = Moments(-end, end, 0 * end, end)
    seen, done = draw(16, history=1)
    batch = {"observation": seen, "action": done, "mask": torch.ones(16, 4, dtype=torch.bool)}
    losses = {}
    for turned in (False, True):
        torch.manual_seed(0)
        settings = {"history": 1, "horizon": 4, "chunk": 4, "width": 16, "depth": 1, "dropout": 0.0}
        config = DiffusionConfig(relative=True, turned=turned, observation_noise=0.0, **settings)
        model = config.build(OBSERVED, ACTIONS, statistics)
        for training in (False, True):
            model.train(training)
            losses[turned, training] = model.loss(batch, torch.Generator().manual_seed(5))[0].item()
    assert losses[False, False] == losses[False, True] == losses[True, False] != losses[True, True]


def test_what_nobody_knows_how_to_turn_is_refused():
    with pytest.raises(SpecError, match=r"found also: tool\.force"):
        Turning({**OBSERVED, "tool.force": ArraySpec((3,))}, ACTIONS)
    with pytest.raises(SpecError, match=r"found also: action arm\.q_target"):
        Turning(OBSERVED, {"arm.q_target": ArraySpec((7,))})
    with pytest.raises(SpecError, match="set relative too, or turned to false"):
        DiffusionConfig(turned=True).build(OBSERVED, ACTIONS, {})
