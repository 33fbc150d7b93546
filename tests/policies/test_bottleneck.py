"""Clouds and the information bottleneck: on synthetic clouds whose content is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies.diffusion import DiffusionConfig
from policies.networks.bottleneck import BottleneckEncoder, gaussian_kl
from policies.networks.encoders import ObservationEncoder, choose
from policies.networks.pointnet import CloudEncoder, chamfer
from robolearn.data.cache import build_cache
from robolearn.data.store import Store
from robolearn.episode import Episode, EpisodeMeta, Outcome
from robolearn.learn.chain_policy import load_chain
from robolearn.learn.checkpoint import load_policy
from robolearn.learn.normaliser import moments
from robolearn.learn.rewards import SparseRewardConfig
from robolearn.learn.transitions import read_transitions
from robolearn.specs import ArraySpec
from robolearn.stages.imitation import Imitation
from robolearn.stages.offline_rl import OfflineRL

POINTS = 12
OBSERVATION = {
    "arm.x": ArraySpec((2,)),
    "cam.cloud": ArraySpec((POINTS, 3), "float32", unit="m"),
    "cam.rgb": ArraySpec((32, 32, 3), "uint8"),
}
ACTION = {"arm.dx": ArraySpec((2,), low=-1.0, high=1.0)}


def observations(count: int, seed: int = 0) -> dict[str, Any]:
    """A ball of points around where the arm must go, and a picture as bright as it is far."""
    draw = np.random.default_rng(seed)
    centre = np.array([0.5, 0.0, 0.0]) + draw.uniform(-0.3, 0.3, (count, 1, 3))
    cloud = centre + 0.05 * draw.normal(size=(count, POINTS, 3))
    bright = (200 * np.abs(centre[:, 0, 0])).astype(np.uint8)
    rgb = np.repeat(bright, 32 * 32 * 3).reshape(count, 32, 32, 3)
    return {"arm.x": draw.uniform(-1, 1, (count, 2)), "cam.cloud": cloud.astype(np.float32), "cam.rgb": rgb}


def batch(count: int, history: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    found = observations(count * history, seed)
    return {name: torch.as_tensor(v.reshape(count, history, *v.shape[1:])) for name, v in found.items()}


def statistics() -> dict[str, Any]:
    found = observations(200)
    return {n: moments(found[n]) for n in ("arm.x", "cam.cloud")} | {
        "action.arm.dx": moments(np.array([[-1.0, -1], [1, 1]]))
    }


def encoder(**changes: Any) -> BottleneckEncoder:
    torch.manual_seed(0)
    return BottleneckEncoder(OBSERVATION, statistics(), 2, branch=16, image_widths=(8, 8), **changes)


def test_the_order_of_points_is_nothing_and_their_place_is_something():
    net = CloudEncoder(moments(observations(50)["cam.cloud"]), 8)
    cloud = torch.as_tensor(observations(3)["cam.cloud"])
    assert torch.allclose(net(cloud), net(cloud[:, torch.randperm(POINTS)]), atol=1e-6)
    assert not torch.allclose(net(cloud), net(cloud + 0.05), atol=1e-3)
    assert net.normalise(torch.as_tensor(observations(50)["cam.cloud"])).abs().max() <= 1.0 + 1e-5


def test_chamfer_by_hand_and_at_coincident_points():
    a = torch.tensor([[[0.0, 0, 0], [1, 0, 0]]], requires_grad=True)
    assert float(chamfer(a.detach(), torch.tensor([[[0.0, 0, 0]]]))) == pytest.approx(0.5)
    same = chamfer(a, a.detach().flip(1))
    same.sum().backward()
    assert float(same) == 0.0
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_kl_is_that_of_torch():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    p = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(p, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    assert torch.allclose(gaussian_kl(mean, log_variance), wanted, atol=1e-5)
    assert gaussian_kl(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0.0


def test_means_in_evaluation_draws_in_training():
    net, seen = encoder(), batch(4)
    net.eval()
    still = net(seen, torch.Generator().manual_seed(0))
    assert torch.equal(still, net(seen, torch.Generator().manual_seed(1)))
    assert still.shape == (4, net.size) == (4, 2 * 3 * 16)
    net.train()
    draws = [net(seen, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_it_learns_to_rebuild_and_beta_limits_what_it_keeps():
    kept = {}
    for beta in (0.0, 1.0):
        net = encoder(shift_pixels=0)
        optimizer, losses = torch.optim.Adam(net.parameters(), 3e-3), []
        for step in range(60):
            _, found = net.encode(batch(16, seed=step % 4), torch.Generator().manual_seed(step))
            losses.append(float(found["reconstruction"]))
            optimizer.zero_grad()
            (found["reconstruction"] + beta * found["kl"]).backward()
            optimizer.step()
        kept[beta] = float(found["kl"]), np.mean(losses[:5]), np.mean(losses[-5:])
    assert kept[0.0][2] < 0.5 * kept[0.0][1]
    assert kept[1.0][0] < 0.2 * kept[0.0][0]


def test_clouds_are_chosen_by_name_only():
    assert list(choose((), OBSERVATION)) == ["arm.x"]
    assert list(choose(("cam.cloud", "arm.x"), OBSERVATION)) == ["cam.cloud", "arm.x"]
    plain = ObservationEncoder({"cam.cloud": OBSERVATION["cam.cloud"]}, statistics(), 2, image_size=8)
    assert plain(batch(3)).shape == (3, 16)


def small(**changes: Any) -> DiffusionConfig:
    plain: dict[str, Any] = {"width": 16, "depth": 1, "train_steps": 10, "sample_steps": 2, "image_size": 8}
    plain |= {"observations": tuple(OBSERVATION), "image_widths": (8, 8), "horizon": 2, "chunk": 2}
    return DiffusionConfig(**(plain | changes))


@pytest.mark.parametrize("kind", ["plain", "bottleneck"])
def test_every_observation_moves_the_policy_and_its_loss(kind):
    model = small(encoder=kind).build(OBSERVATION, ACTION, statistics())
    seen = {
        "observation": batch(6),
        "action": {"arm.dx": torch.rand(6, 2, 2)},
        "mask": torch.ones(6, 2, dtype=torch.bool),
    }
    loss, metrics = model.loss(seen, torch.Generator().manual_seed(0))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.encoder.parameters())
    assert set(metrics) == ({"denoising", "reconstruction", "kl"} if kind == "bottleneck" else set())
    model.eval()
    with torch.no_grad():
        before = model.encoder(seen["observation"])
        for name in OBSERVATION:
            other = seen["observation"] | {name: batch(6, seed=9)[name]}
            assert not torch.equal(before, model.encoder(other)), name


@pytest.fixture
def store(tmp_path) -> Path:
    with Store.create(tmp_path / "store", durable=False) as store:
        for k in range(6):
            seen, steps = observations(6, k), 5
            actions = np.random.default_rng(k).uniform(-1, 1, (steps, 2))
            outcome = Outcome.SUCCESS if k % 2 else Outcome.TIMEOUT
            meta = EpisodeMeta("toy", "", 10.0, k)
            moves = {"arm.dx": actions}
            store.append(
                Episode(
                    OBSERVATION, ACTION, seen, moves, moves, np.ones(steps, np.int8), np.arange(6) / 10.0, outcome, meta
                )
            )
    return tmp_path / "store"


def test_clouds_and_pictures_pass_through_imitation_and_offline_rl(store, tmp_path):
    policy = {"plugin": "diffusion", "encoder": "bottleneck"} | {
        name: getattr(small(), name)
        for name in ("observations", "width", "depth", "train_steps", "sample_steps", "image_size", "image_widths")
    } | {"horizon": 2, "chunk": 2}  # fmt: skip
    cloned = Imitation(str(store), policy, {"steps": 3, "batch_size": 4, "warmup_steps": 1}).run(tmp_path / "il")
    model, described = load_chain(cloned)
    assert (described["beta_reconstruction"], described["beta_kl"]) == pytest.approx((0.05, 1e-5))
    opened = Store.open(store)
    data = read_transitions(opened, build_cache(opened), model, SparseRewardConfig().build(), gamma=0.9)
    again = read_transitions(opened, build_cache(opened), model, SparseRewardConfig().build(), gamma=0.9)
    assert data.condition.shape == (30, model.condition_size)
    assert data.fingerprint == again.fingerprint, "means, not draws"
    nets = {"members": 2, "width": 8, "depth": 1}
    out = OfflineRL(
        str(store), str(cloned), candidates=1, critic=nets, dynamics=nets | {"elites": 2}, fitted=nets,
        critic_steps=3, dynamics_steps=3, fitted_steps=(3, 2), improve={"batches": 1, "batch_size": 8}, held_out=0.34,
    ).run(tmp_path / "offline")  # fmt: skip
    assert load_policy(out).config.encoder == "bottleneck"
    _, twice = load_chain(out)
    assert twice["beta_kl"] == pytest.approx(1e-5), "divided once"
