"""How fast a network of pictures learns where the told things are.

    python benchmarks/picture_places.py [--quick] [--scenes 4000] [--steps 1200]

Scenes of pick_place, as the table's and the hand's camera (84 x 84) see them, with a command each. The encoders that
policies have are trained to say where the told fruit and the told container lie, and are asked about scenes they have
not seen. Rows: as policies use them; with a softmax as steep as its logits; without hearing the command; with the
usual learning rate. All get the same batches.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from policies.networks import pictures
from robolearn import plugins
from robolearn.rollout import episode_seeds
from robolearn.scene.view import COMMAND, read_scene, token_bag, view, words

CAMERAS = ("agent", "wrist")
SIZE, BATCH, ROWS, SHIFT, HEIGHTS_M = 84, 64, 50, 4, (0.0, 0.06, 0.12)


@dataclass(frozen=True, slots=True)
class Scenes:
    """N scenes: pictures (N, 3, 84, 84) per camera, words (N, V), x and y of thing and goal (N, 4) in dm."""

    pictures: list[Tensor]
    words: Tensor
    places: Tensor


def look(count: int) -> Scenes:
    """Draw scenes; the arm is at its start pose."""
    config = {"plugin": "pick_place", "n": ROWS, "cameras": [(c, SIZE, SIZE) for c in CAMERAS], "heights_m": HEIGHTS_M}
    env = plugins.from_dict("env", config).build()
    scene = read_scene(env.observation_spec)
    parts = []
    for k in range(0, count, ROWS):
        env.reset(episode_seeds(k + ROWS, 0)[k:], range(ROWS))
        parts.append(env.observe().arrays)
    env.close()
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    seen = view(scene, arrays)
    bags = np.stack([token_bag(text, words(scene.commands)) for text in scene.commands])
    return Scenes(
        [torch.from_numpy(arrays[f"{c}.rgb"]).movedim(-1, 1) for c in CAMERAS],
        torch.from_numpy(bags[arrays[COMMAND].argmax(axis=1)]).float(),
        torch.from_numpy(np.concatenate([seen.thing[:, :2], seen.place[:, :2]], axis=1) * 10).float(),
    )


class Places(nn.Module):
    """Two encoders and an MLP that is told the words, too."""

    def __init__(self, words: int, heard: bool):
        super().__init__()
        self.eyes = nn.ModuleList(pictures.ImageEncoder(64, (16, 32, 32), words if heard else 0) for _ in CAMERAS)
        self.head = nn.Sequential(
            nn.Linear(64 * len(CAMERAS) + words, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4)
        )

    def forward(self, images: list[Tensor], words_NV: Tensor) -> Tensor:
        seen = [eye(one.float() / 255, words_NV) for eye, one in zip(self.eyes, images, strict=True)]
        return self.head(torch.cat([*seen, words_NV], dim=-1))


def learn(scenes: Scenes, steps: int, sharp: float, heard: bool, rate: float) -> tuple[np.ndarray, float]:
    """Errors (held-out scenes, 2) of thing and container in cm, and seconds."""
    torch.manual_seed(0)
    draw, shifts = np.random.default_rng(0), torch.Generator().manual_seed(0)
    pictures.SHARP, begin = sharp, time.perf_counter()
    known = len(scenes.words) * 4 // 5
    network = Places(scenes.words.shape[1], heard)
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.06)
    for _ in range(steps):
        chosen = torch.from_numpy(draw.integers(0, known, BATCH))
        images = [pictures.shift(one[chosen][:, None], SHIFT, shifts)[:, 0] for one in scenes.pictures]
        loss = (network(images, scenes.words[chosen]) - scenes.places[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        said = [
            network([one[k : k + BATCH] for one in scenes.pictures], scenes.words[k : k + BATCH])
            for k in range(known, len(scenes.words), BATCH)
        ]
    wrong = (torch.cat(said) - scenes.places[known:]).view(-1, 2, 2).norm(dim=2) * 10
    return wrong.numpy(), time.perf_counter() - begin


def main() -> None:
    """Train every row and print its errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scenes", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=1200)
    chosen = parser.parse_args()
    count, steps = (200, 4) if chosen.quick else (chosen.scenes, chosen.steps)
    torch.set_num_threads(1)
    scenes = look(count)
    sharp = pictures.SHARP
    print("error in cm on scenes not seen, median (90 %)   told fruit       told container   time")
    rows: list[tuple[str, float, bool, float]] = [
        ("as policies use them", sharp, True, 3e-3),
        ("softmax as steep as its logits", 1.0, True, 3e-3),
        ("the command is not heard", sharp, False, 3e-3),
        ("learning rate 0.001", sharp, True, 1e-3),
        ("all three", 1.0, False, 1e-3),
    ]
    for name, steep, heard, rate in rows:
        wrong, seconds = learn(scenes, steps, steep, heard, rate)
        fruit, container = (f"{np.median(e):5.1f} ({np.quantile(e, 0.9):4.1f})" for e in wrong.T)
        print(f"{name:47} {fruit}     {container}     {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
