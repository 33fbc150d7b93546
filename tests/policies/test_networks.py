import numpy as np
import pytest
import torch

from policies.networks.denoiser_mlp import MlpDenoiser
from policies.networks.encoders import ObservationEncoder, ThingSelector, choose
from policies.networks.pictures import ImageEncoder, shift
from policies.networks.transformer import TransformerDenoiser
from policies.networks.unet1d import Unet1d
from robolearn.errors import SpecError, UnknownName
from robolearn.learn.normaliser import moments
from robolearn.specs import ArraySpec

STEPS = 20


def networks(horizon: int, size: int, condition: int):
    yield MlpDenoiser(horizon, size, condition, STEPS, width=32, depth=2, dropout=0.1)
    yield Unet1d(size, condition, STEPS, widths=(16, 32, 64), step_size=16)
    yield TransformerDenoiser(horizon, size, condition, STEPS, width=32, depth=2, dropout=0.1)


@pytest.mark.parametrize("horizon", [1, 2, 3, 5, 7, 8, 13, 16])
@pytest.mark.parametrize("size", [1, 7])
def test_denoisers_keep_the_shape_of_any_horizon(horizon: int, size: int):
    x, condition, step = torch.randn(4, horizon, size), torch.randn(4, 6), torch.tensor([0, 1, 9, STEPS - 1])
    for network in networks(horizon, size, 6):
        assert network(x, step, condition).shape == x.shape


def test_every_parameter_and_input_has_an_influence():
    torch.manual_seed(0)
    for network in networks(5, 2, 3):
        # adaLN-Zero starts as the identity, so look after a small random step.
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        x, condition = torch.randn(4, 5, 2, requires_grad=True), torch.randn(4, 3, requires_grad=True)
        step = torch.tensor([1, 5, 9, 19])
        network.eval()(x, step, condition).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
        assert x.grad is not None
        assert condition.grad is not None
        assert (x.grad.abs().sum(-1) > 0).all()
        assert (condition.grad.abs() > 0).all()
        assert not torch.equal(network(x, step, condition), network(x, step.flip(0), condition))


def test_rows_do_not_mix():
    torch.manual_seed(0)
    for network in networks(6, 2, 3):
        x, condition, step = torch.randn(4, 6, 2), torch.randn(4, 3), torch.tensor([1, 5, 9, 19])
        together = network.eval()(x, step, condition)
        for row in range(4):
            alone = network(x[row : row + 1], step[row : row + 1], condition[row : row + 1])
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("widths", "kernel"), [((12, 24), 5), ((16, 32), 4), ((), 5)])
def test_a_unet_of_impossible_sizes_is_refused(widths, kernel):
    with pytest.raises(SpecError, match="needs an odd kernel and widths that 8 divides"):
        Unet1d(2, 3, STEPS, widths=widths, kernel=kernel)


def test_a_transformer_of_impossible_sizes_is_refused():
    with pytest.raises(SpecError, match="multiple of its 4 heads; found 30"):
        TransformerDenoiser(4, 2, 3, STEPS, width=30)


SPEC = {
    "arm.q": ArraySpec((3,)),
    "hand.open": ArraySpec((), "bool"),
    "wrist.rgb": ArraySpec((24, 30, 3), "uint8"),
    "sim.cube": ArraySpec((7,)),
    "task.left": ArraySpec(()),
    "wrist.depth": ArraySpec((24, 30), "float32"),
}


def test_by_default_a_policy_uses_what_a_bench_measures_as_vectors():
    assert list(choose((), SPEC)) == ["arm.q", "hand.open"]
    assert list(choose(("wrist.rgb", "sim.cube"), SPEC)) == ["wrist.rgb", "sim.cube"]


def test_impossible_observations_are_refused():
    with pytest.raises(UnknownName, match=r"Did you mean 'wrist\.rgb'"):
        choose(("wrist.rbg",), SPEC)
    with pytest.raises(SpecError, match=r"found \['wrist.depth'\] among: arm.q"):
        choose(("wrist.depth",), SPEC)
    with pytest.raises(SpecError, match=r"found none among: sim\.cube"):
        choose((), {"sim.cube": SPEC["sim.cube"]})


def test_a_shift_moves_whole_histories_and_repeats_edges():
    images = torch.arange(2 * 3 * 3 * 6 * 5).view(2, 3, 3, 6, 5)
    moved = shift(images, 2, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    padded = torch.nn.functional.pad(images.float().flatten(0, 1), (2, 2, 2, 2), mode="replicate").view(2, 3, 3, 10, 9)
    for row in range(2):
        crops = [padded[row, :, :, y : y + 6, x : x + 5] for y in range(5) for x in range(5)]
        assert any(torch.equal(crop, moved[row].float()) for crop in crops)
    assert torch.equal(shift(images, 0, torch.Generator()), images)


def test_a_bright_point_is_found_where_it_is():
    """After training on it for a moment, the spatial softmax reports a place."""
    torch.manual_seed(0)
    encoder = ImageEncoder(2, (16, 16))
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    place = torch.randint(3, 21, (64, 2))
    images = torch.zeros(64, 3, 24, 24)
    for image, (y, x) in zip(images, place, strict=True):
        image[:, y - 2 : y + 3, x - 2 : x + 3] = 1.0
    target = place.float() / 12 - 1
    for _ in range(100):
        loss = (encoder(images) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01


def test_words_say_which_point_is_looked_for():
    """Two points of different colours and a word for each: the network reports the one that is told."""
    torch.manual_seed(0)
    encoder = ImageEncoder(2, (16, 16), spoken=2)
    assert torch.equal(
        encoder(torch.ones(1, 3, 24, 24), torch.zeros(1, 2)), encoder(torch.ones(1, 3, 24, 24), torch.ones(1, 2))
    )
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    place = torch.randint(3, 21, (32, 2, 2))
    images = torch.zeros(32, 3, 24, 24)
    for image, points in zip(images, place, strict=True):
        for colour, (y, x) in enumerate(points):
            image[colour, y - 2 : y + 3, x - 2 : x + 3] = 1.0
    images, told = torch.cat([images, images]), torch.eye(2).repeat_interleave(32, dim=0)
    target = torch.cat([place[:, 0], place[:, 1]]).float() / 12 - 1
    for _ in range(200):
        loss = (encoder(images, told) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_words_that_are_not_observed_are_refused():
    with pytest.raises(
        SpecError, match=r"Policies with words need a vector .* found words='scene.wrods' among: wrist.rgb"
    ):
        ObservationEncoder(choose(("wrist.rgb",), SPEC), {}, 1, image_widths=(8, 8), words="scene.wrods")


def test_an_encoder_augments_only_in_training_and_only_from_its_generator():
    draw = np.random.default_rng(0)
    spec = choose(("arm.q", "wrist.rgb"), SPEC)
    encoder = ObservationEncoder(spec, {"arm.q": moments(draw.normal(size=(9, 3)))}, 2, noise=0.1, image_widths=(8, 8))
    observation = {
        "arm.q": torch.as_tensor(draw.normal(size=(4, 2, 3))),
        "wrist.rgb": torch.as_tensor(draw.integers(0, 256, (4, 2, 24, 30, 3), np.uint8)),
    }

    def encode(seed: int):
        return encoder(observation, torch.Generator().manual_seed(seed))

    assert encode(0).shape == (4, encoder.size)
    assert torch.equal(encode(0), encode(0))
    assert not torch.equal(encode(0), encode(1))
    encoder.eval()
    assert torch.equal(encode(0), encode(1))
    assert torch.equal(encode(0), encoder(observation))


THINGS = {
    "scene.words": ArraySpec((3,), names=("kiwi", "plum", "bowl")),
    "scene.things": ArraySpec((3, 2)),
    "arm.q": ArraySpec((2,)),
}


def things_encoder(**fields):
    data = {
        "scene.words": np.eye(3),
        "scene.things": np.random.default_rng(0).normal(size=(50, 3, 2)),
        "arm.q": np.eye(2),
    }
    return ObservationEncoder(
        THINGS, {n: moments(v) for n, v in data.items()}, 1, words="scene.words", heads=2, **fields
    )


def test_what_a_head_sees_does_not_depend_on_which_thing_it_is():
    """Things that are swapped together with the words' choice are seen alike; a list is no depth picture."""
    encoder = things_encoder().eval()
    select = encoder.selectors[0]
    assert isinstance(select, ThingSelector)
    # Both heads look at the thing that is named.
    select.load_state_dict({"query.weight": 50 * torch.eye(3).repeat(2, 1), "query.bias": torch.zeros(6)})
    things = torch.randn(1, 1, 3, 2)
    seen = []
    for k in range(3):
        words = torch.zeros(1, 1, 3)
        words[..., k] = 1  # the thing that was the first before all of them moved on by k
        batch = {"scene.words": words, "scene.things": torch.roll(things, k, dims=2), "arm.q": torch.zeros(1, 1, 2)}
        seen.append(encoder(batch)[0, -4:])
    assert torch.allclose(seen[0], seen[1], atol=1e-5)
    assert torch.allclose(seen[0], seen[2], atol=1e-5)


def test_things_need_words_that_choose_among_them():
    with pytest.raises(SpecError, match=r"need a vector of words .* found words='' among"):
        ObservationEncoder(THINGS, {n: moments(np.zeros((2, *s.shape))) for n, s in THINGS.items()}, 1)


def test_a_dark_camera_is_dark_for_whole_samples_and_only_in_training():
    spec = {"wrist.rgb": ArraySpec((16, 16, 3), "uint8")}
    encoder = ObservationEncoder(spec, {}, 1, camera_dropout=0.5, shift_pixels=0)
    images = {"wrist.rgb": torch.full((64, 1, 16, 16, 3), 200, dtype=torch.uint8)}
    dark = encoder.eval()({"wrist.rgb": torch.zeros_like(images["wrist.rgb"])})[0]
    bright = encoder(images)[0]
    found = encoder.train()(images, torch.Generator().manual_seed(0))
    is_dark = torch.isclose(found, dark, atol=1e-5).all(1)
    is_bright = torch.isclose(found, bright, atol=1e-5).all(1)
    assert torch.all(is_dark ^ is_bright)
    assert 20 < int(is_dark.sum()) < 44
    assert torch.allclose(encoder.eval()(images, torch.Generator().manual_seed(0)), bright.expand(64, -1), atol=1e-5)


def test_a_head_decides_for_the_thing_that_was_told():
    """A blend of things is nobody's place: after a few hundred steps a head looks at one thing, whatever the words."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    things, width = 5, 3
    select = ThingSelector(things, things, heads=1)
    rest = torch.nn.Linear(width, width)
    optimiser = torch.optim.AdamW([*select.parameters(), *rest.parameters()], lr=1e-3)
    for _ in range(400):
        told = torch.randint(things, (64,), generator=generator)
        words = torch.nn.functional.one_hot(told, things).float()[:, None]
        places = torch.randn((64, 1, things, width), generator=generator)
        aim = places[torch.arange(64), :, told]
        loss = (rest(select(places, words)) - aim).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    shares = torch.eye(things)[None, None]  # a thing's only feature says which thing it is
    looked = select(shares.expand(things, 1, -1, -1), torch.eye(things)[:, None])[:, 0]
    assert looked.diagonal().min() > 0.8
