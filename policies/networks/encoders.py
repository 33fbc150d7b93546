"""From a history of observations to one condition vector.

Low-dimensional arrays are normalised and concatenated; clouds go through `pointnet`, pictures through a small network
per camera (`pictures`), which the words of a command steer where a policy has words.

Arrays of things (K things, F numbers each, such as "scene.things") go through an attention whose queries are the
words of the command: a learned vector per word, added up (a bag of tokens, no pretrained language), says which thing
each of a few heads looks at, and what they see joins the condition beside the words themselves.

Training only, drawn from the given generator: pictures are shifted at random by a few pixels (DrQ, Kostrikov et al.
2020; the same shift for all frames of a history, so that motion stays motion), and low-dimensional observations get
Gaussian noise in normalised units, so that a policy does not balance on coincidences of few demonstrations. Whole
cameras can be made dark at random, so that a policy does not come to depend on a single one.

Shapes: B batch, T history, D low-dimensional numbers, N pictures, F features, P points,
K things, H heads, V words.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from policies.networks.gaps import ARM, Gaps, absolute
from policies.networks.pictures import ImageEncoder, shift
from policies.networks.pointnet import CloudEncoder, is_cloud
from robolearn.errors import SpecError
from robolearn.learn.normaliser import ArrayStatistics, Mode, Moments, Normaliser, Statistics
from robolearn.specs import ArraySpec, Spec, select

__all__ = ["ObservationEncoder", "ThingSelector", "choose"]

_HIDDEN = ("task.", "sim.")
SHARP = 16.0
"""See `ThingSelector`."""


def choose(names: tuple[str, ...], observation_spec: Spec, relative: bool = False) -> dict[str, ArraySpec]:
    """The observations a policy uses.

    Args:
        names: As the user says; () means all vectors and numbers except "task.*" and "sim.*", which are facts of
            the simulator that a real bench does not measure.
        observation_spec: What there is.
        relative: Without names, leave out the arm's joints as well: they say where the tool is.

    Raises:
        UnknownName: A name that is not there.
        SpecError: Nothing is left, or an array that is neither a vector nor a picture nor a cloud.
    """
    if names:
        chosen = select(observation_spec, names)
    else:
        chosen = {n: s for n, s in observation_spec.items() if _is_vector(s) and not n.startswith(_HIDDEN)}
        chosen = {n: s for n, s in chosen.items() if not (relative and n in ARM)}
    odd = [n for n, s in chosen.items() if not (_is_vector(s) or is_things(n, s) or s.is_image or is_cloud(s))]
    if odd or not chosen:
        raise SpecError(
            "Expected at least one observation that is a vector, a list of things, an 8-bit RGB picture or a cloud "
            "(N, 3); found "
            f"{odd or 'none'} among: {', '.join(observation_spec)}. Name the ones to use in `observations`."
        )
    return chosen


def _is_vector(spec: ArraySpec) -> bool:
    return len(spec.shape) <= 1 and spec.dtype[:3] in ("flo", "int", "uin", "boo")


def is_things(name: str, spec: ArraySpec) -> bool:
    """Whether an array is a list of things with a few numbers each (a depth picture has the same kind of shape)."""
    return name.endswith(".things") and len(spec.shape) == 2 and spec.dtype[:3] == "flo"


def _shared(found: ArrayStatistics) -> Moments:
    """Statistics (K, F) of things, the same for each of them: what a head sees must not depend on which thing it is."""
    shape, mean, std = np.shape(found.min), np.asarray(found.mean), np.asarray(found.std)
    spread = np.sqrt((std**2).mean(0) + mean.var(0))
    ends = (np.min(found.min, axis=0), np.max(found.max, axis=0), mean.mean(0), spread)
    return Moments(*(np.broadcast_to(one, shape) for one in ends))


class ThingSelector(nn.Module):
    """Things (B, T, K, F) and words (B, T, V) to what the heads look at, (B, T, heads * F).

    A head that looks at a blend of things sees no thing's place, and the networks after it learn to live with the
    blend before the heads have decided. So logits are `SHARP` times what the words say, and begin near zero: a head
    decides in the first hundreds of steps (tests/policies/test_networks.py).

    Args:
        things: K.
        words: V.
        heads: How many things are looked at, at most.
    """

    def __init__(self, things: int, words: int, heads: int):
        super().__init__()
        self.heads, self.things = heads, things
        self.query = nn.Linear(words, heads * things)
        with torch.no_grad():
            self.query.weight.mul_(1.0 / SHARP)
            self.query.bias.zero_()

    def forward(self, things_BTKF: Tensor, words_BTV: Tensor) -> Tensor:
        logits_BTHK = SHARP * self.query(words_BTV).unflatten(-1, (self.heads, self.things))
        return (logits_BTHK.softmax(-1) @ things_BTKF).flatten(-2)


class ObservationEncoder(nn.Module):
    """Named observations (B, history, ...) to a condition (B, size).

    Args:
        spec: The observations to use, vectors, pictures and clouds.
        statistics: Of vectors and clouds.
        history: T.
        mode: How vectors are normalised.
        noise: Standard deviation of the noise on normalised vectors, in training.
        shift_pixels: Largest shift of pictures, in training.
        image_size: Features per picture or cloud.
        image_widths: See `ImageEncoder`.
        words: The vector that chooses among things and steers what pictures are looked at for; "" for none.
        heads: See `ThingSelector`.
        camera_dropout: Probability that a camera is dark for a sample, in training.
        relative: Poses and places become gaps (`networks.gaps`).

    Raises:
        SpecError: There are things and nothing that chooses among them, words that are not observed, or nothing to be
            relative to.
    """

    def __init__(
        self,
        spec: Spec,
        statistics: Statistics,
        history: int,
        *,
        mode: Mode = "min_max",
        noise: float = 0.0,
        shift_pixels: int = 4,
        image_size: int = 64,
        image_widths: tuple[int, ...] = (32, 64, 64),
        words: str = "",
        heads: int = 4,
        camera_dropout: float = 0.0,
        relative: bool = False,
    ):
        super().__init__()
        self.history, self.noise, self.shift_pixels = history, noise, shift_pixels
        self.camera_dropout = camera_dropout
        self.gaps = Gaps(spec) if relative else None
        replaced = absolute(spec) if relative else []
        shared = {n: _shared(statistics[n]) for n, s in spec.items() if is_things(n, s) and n in statistics}
        vectors = {n: s for n, s in spec.items() if not s.is_image and not is_cloud(s) and n not in replaced}
        self.normaliser = Normaliser(vectors, {**statistics, **shared}, mode)
        self.image_names = [name for name, s in spec.items() if s.is_image]
        # Module names must not have dots in them, so cameras go by number.
        self.words, spoken = words, (spec[words].shape[0] if words in spec and len(spec[words].shape) == 1 else 0)
        self.cameras = nn.ModuleList(ImageEncoder(image_size, image_widths, spoken) for _ in self.image_names)
        self.cloud_names = [name for name, s in spec.items() if is_cloud(s)]
        self.clouds = nn.ModuleList(CloudEncoder(statistics[name], image_size) for name in self.cloud_names)
        self.thing_names = [name for name, s in spec.items() if is_things(name, s)]
        if (words or self.thing_names) and not spoken:
            of = f"The arrays of things {', '.join(self.thing_names)}" if self.thing_names else "Policies with words"
            raise SpecError(
                f"{of} need a vector of words among the observations, which says what to look at; "
                f"found words={words!r} among: {', '.join(spec)}."
            )
        shapes = [spec[name].shape for name in self.thing_names]
        self.selectors = nn.ModuleList(ThingSelector(k, spoken, heads) for k, _ in shapes)
        chosen = heads * sum(f for _, f in shapes)
        seen = image_size * (len(self.image_names) + len(self.cloud_names))
        gaps = self.gaps.size if self.gaps is not None else 0
        self.size = history * (self.normaliser.size + gaps + chosen + seen)

    def forward(self, observation: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Tensor:
        """The condition (B, size); augmented when training and a generator is given."""
        parts: list[Tensor] = []
        augment = generator if self.training else None
        if self.gaps is not None:
            parts.append(self._noisy(self.gaps(observation), augment).flatten(1))
        if self.normaliser.size:
            x_BTD = self._noisy(self.normaliser.encode(observation), augment)
            parts.append(x_BTD.flatten(1))
            pieces = dict(
                zip(self.normaliser.shapes, x_BTD.split(list(self.normaliser.sizes.values()), -1), strict=True)
            )
            for name, select in zip(self.thing_names, self.selectors, strict=True):
                things_BTKF = pieces[name].unflatten(-1, self.normaliser.shapes[name])
                parts.append(select(things_BTKF, observation[self.words].to(x_BTD.dtype)).flatten(1))
        for name, camera in zip(self.image_names, self.cameras, strict=True):
            x_BTFhw = observation[name].movedim(-1, -3)
            if augment is not None and self.shift_pixels > 0:
                x_BTFhw = shift(x_BTFhw, self.shift_pixels, augment)
            batch = x_BTFhw.shape[0]
            if augment is not None and self.camera_dropout > 0:
                bright_B = torch.rand(batch, generator=augment, device=x_BTFhw.device) >= self.camera_dropout
                x_BTFhw = x_BTFhw * bright_B[:, None, None, None, None].to(x_BTFhw.dtype)
            words_NV = observation[self.words].to(torch.float32).flatten(0, 1) if camera.spoken else None
            parts.append(camera(x_BTFhw.flatten(0, 1).to(torch.float32) / 255, words_NV).view(batch, -1))
        for name, cloud in zip(self.cloud_names, self.clouds, strict=True):
            x_BTN3 = observation[name]
            parts.append(cloud(x_BTN3.flatten(0, 1)).view(x_BTN3.shape[0], -1))
        return torch.cat(parts, dim=-1)

    def _noisy(self, x_BTD: Tensor, augment: torch.Generator | None) -> Tensor:
        if augment is None or self.noise <= 0:
            return x_BTD
        return x_BTD + self.noise * torch.randn(x_BTD.shape, generator=augment, device=x_BTD.device)
