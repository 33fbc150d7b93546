"""Draw every simulated task at its start, in the middle and done, as a contact sheet.

    python launch/draw_tasks.py [--out docs/tasks.png] [--width 216]

Tasks are found by their entry points, each with the next of its robots; the scripted expert plays one episode per
task, and three of its states are drawn with the vendors' meshes, shadows and reflections.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tyro
from PIL import Image

from robolearn import plugins
from robolearn.episode import Outcome
from robolearn.specs import Array
from sim.config import SimConfig
from sim.render import Renderer

COLUMNS = 2
"""Tasks side by side."""
COLOURS = 192
"""Colours of the sheet, without dither: large even areas, which pack well."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


def episode(config: type[SimConfig], name: str, robot: str) -> tuple[str, Array]:
    """The instruction of a task and three states (3, nstate) of an expert's successful episode."""
    env = config(robot=robot).build()
    teacher = plugins.load("expert", name)().build(env)
    for seed in range(20):
        env.reset([seed], [0])
        teacher.reset([seed], [0])
        states = [env.world.state[0].copy()]
        while env.outcomes()[0] == Outcome.RUNNING:
            decision = teacher.act(env.observe().arrays)
            env.act({key: decision[key] for key in env.action_spec})
            states.append(env.world.state[0].copy())
        if env.outcomes()[0] == Outcome.SUCCESS:
            env.close()
            return env.task.instruction, np.stack([states[0], states[len(states) // 2], states[-1]])
    raise SystemExit(f"The expert of {name} does not succeed with {robot} from any of the seeds 0 to 19.")


def strip(name: str, robot: str, width: int) -> Array:
    """One task: three pictures side by side under its name."""
    config = plugins.load("env", name)
    instruction, states = episode(config, name, robot)
    model = config(robot=robot).sim_task().model("full")
    height = width * 3 // 4
    with Renderer(model, pretty=True) as renderer:
        # Drawn at twice the size and averaged, which smooths the edges.
        large = renderer.rgb(states, "agent", 2 * width, 2 * height)
    pictures = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in large]
    label = np.full((20, 3 * width, 3), 255, np.uint8)
    cv2.putText(label, f"{name} ({robot})", (4, 14), FONT, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    left = 24 + cv2.getTextSize(f"{name} ({robot})", FONT, 0.42, 1)[0][0]
    size = cv2.getTextSize(instruction, FONT, 1.0, 1)[0][0]
    scale = min(0.36, (3 * width - left - 8) / size)  # a long sentence is written smaller
    cv2.putText(label, instruction, (left, 14), FONT, scale, (90, 90, 90), 1, cv2.LINE_AA)
    return np.concatenate([label, np.concatenate(pictures, axis=1)])


def main(out: Path = Path("docs/tasks.png"), width: int = 216) -> None:
    """Draw the sheet.

    Args:
        out: Where to write it.
        width: Width of one picture in pixels.
    """
    strips = []
    for index, name in enumerate(plugins.names("env")):
        config = plugins.load("env", name)
        if isinstance(config, type) and issubclass(config, SimConfig):
            strips.append(strip(name, config.robots[index % len(config.robots)], width))
            print(name)
    while len(strips) % COLUMNS:
        strips.append(np.full_like(strips[0], 255))
    rows = [np.concatenate(strips[i : i + COLUMNS], axis=1) for i in range(0, len(strips), COLUMNS)]
    # Maximum coverage keeps colours that are rare in the sheet, such as those of the objects.
    method = Image.Quantize.MAXCOVERAGE
    sheet = Image.fromarray(np.concatenate(rows)).quantize(COLOURS, method, kmeans=1, dither=Image.Dither.NONE)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)
    print(f"{out}: {out.stat().st_size // 1024} kB")


if __name__ == "__main__":
    tyro.cli(main)
