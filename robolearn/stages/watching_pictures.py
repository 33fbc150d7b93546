"""Pictures of the report on learning from watching: detections, person beside robot, and the reward over the table."""

# Types of matplotlib and numpy are too open here for strict checking.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import base64
import html
import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.keypoints.adversarial import Reward
from robolearn.keypoints.onions import FEATURES, HAND_M
from robolearn.specs import Array

__all__ = ["draw_detections", "draw_reward", "draw_side_by_side", "draw_tolerance", "embedded"]

LEFT, RIGHT = "#1f9bff", "#ff3b30"
_PLACES = (("onions", 0.0, 0.74, "#ffffff"), ("bin", 0.36, 0.45, "#ffffff"), ("conveyor", -0.38, 0.60, "#ffffff"))
"""Name, y and x of what the hand visits, m."""


def embedded(path: Path, caption: str) -> str:
    """A picture of a report as HTML."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img style="max-width:100%" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def draw_detections(
    path: Path, pictures: Sequence[Array], rows: Sequence[tuple[str, Array, Array]], truth: Array
) -> Path:
    """Points drawn over frames, one row of frames per detector or stage.

    Args:
        path: Of the PNG.
        pictures: (height, width, 3) uint8, a few frames.
        rows: Name, pixels (F, 6, 2) of both arms (left first), and (F,) which frames must not be used.
        truth: (F, 6, 2) pixels.
    """
    figure, axes = _canvas(len(rows), len(pictures), 3.1, 2.35)
    for r, (name, pixels, rejected) in enumerate(rows):
        for k, picture in enumerate(pictures):
            a = axes[r, k]
            a.imshow(picture)
            for side, colour in ((slice(0, 3), LEFT), (slice(3, 6), RIGHT)):
                a.plot(*pixels[k, side].T, "o-", color=colour, ms=4.5, lw=2.2)
            a.plot(*truth[k].T, "+", color="white", ms=8, mew=1.4)
            _plain(a, picture)
            if rejected[k]:
                a.text(8, 30, "rejected", color="white", fontsize=9, backgroundcolor="#b00020")
        axes[r, 0].text(8, 462, name, color="white", fontsize=9, backgroundcolor="#222222")
    return _save(figure, path)


def draw_side_by_side(path: Path, rows: Sequence[tuple[str, Array, Array]]) -> Path:
    """The same moments of a person and of robots, a row each.

    Args:
        path: Of the PNG.
        rows: Name, pictures (F, height, width, 3), and pixels (F, 3, 2) of shoulder, elbow and hand.
    """
    points = np.concatenate([arm.reshape(-1, 2) for _, _, arm in rows])
    left, top = np.maximum(points.min(axis=0) - np.array([150.0, 70.0]), 0.0)  # one window for all: where the arms are
    right, bottom = np.minimum(points.max(axis=0) + np.array([150.0, 90.0]), rows[0][1].shape[2:0:-1])
    figure, axes = _canvas(len(rows), len(rows[0][1]), 3.1, 3.1 * float((bottom - top) / (right - left)))
    for r, (name, pictures, arm) in enumerate(rows):
        for k, picture in enumerate(pictures):
            a = axes[r, k]
            a.imshow(picture)
            a.plot(*arm[k].T, "o-", color="white", ms=7.5, lw=5.0)
            a.plot(*arm[k].T, "o-", color="black", ms=4.5, lw=2.0)
            a.set(xlim=(left, right), ylim=(bottom, top))
            a.set_axis_off()
        axes[r, 0].text(left + 6, bottom - 10, name, color="white", fontsize=9, backgroundcolor="#222222")
    return _save(figure, path)


def draw_reward(path: Path, reward: Reward) -> Path:
    """g over the workspace, seen from above, in four situations; one colour scale, zero being the mean over them."""
    x, y = np.meshgrid(np.linspace(0.35, 0.95, 60), np.linspace(-0.65, 0.75, 80))
    maps: list[tuple[str, Array]] = []
    for title, z, held, label in (
        ("empty hand, 3 cm above onions", 0.80, 0, 0),
        ("onion in hand, not looked at", 1.0, 1, 0),
        ("blemished onion in hand", 1.0, 1, -1),
        ("good onion in hand", 0.82, 1, 1),
    ):
        hand = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, z)])
        seen = np.zeros((x.size, len(FEATURES)))
        seen[:, :3] = (hand - [0.6, 0.0, 0.95]) / 0.3
        if not held:
            seen[:, 3:6] = (np.array([0.74, 0.0, 0.77]) - hand) / 0.3
        seen[:, 6:] = held, label, held * abs(label)
        maps.append((title, reward.values(seen, np.zeros((len(seen), 3)))[0].reshape(x.shape)))
    middle = float(np.mean([m for _, m in maps]))
    largest = float(np.percentile(np.abs([m - middle for _, m in maps]), 99))
    figure, axes = _canvas(1, len(maps), 3.3, 3.3)
    shown: Any = None
    for a, (title, values) in zip(axes[0], maps, strict=True):
        shown = a.pcolormesh(y, x, values - middle, cmap="RdBu", shading="auto", vmin=-largest, vmax=largest)
        for name, at_y, at_x, _ in _PLACES:
            at = np.array([at_x, at_y]) + HAND_M[:2] if name != "onions" else np.array([at_x, at_y])
            a.plot(at[1], at[0], "o", mfc="none", mec="black", ms=9, mew=1.4)
            a.annotate(name, (at[1], at[0]), (0, 8), textcoords="offset points", ha="center", fontsize=8)
        a.invert_xaxis()
        a.set_title(title, fontsize=10)
        a.set_xlabel("y, m")
    axes[0, 0].set_ylabel("x, m (ahead)")
    figure.colorbar(shown, ax=axes, shrink=0.85, label="g - its mean")
    return _save(figure, path)


def draw_tolerance(path: Path, noise_cm: Sequence[float], recalls: Array) -> Path:
    """Recall (seeds, noises) over the tracker's error."""
    figure, axes = _canvas(1, 1, 5.2, 2.8)
    a = axes[0, 0]
    a.plot(noise_cm, recalls.T, color="#9aa4b2", lw=1.0)
    a.plot(noise_cm, recalls.mean(axis=0), "o-", color="#2563a8", lw=2.2, label="mean over seeds")
    a.axhline(0.8, color="#b00020", ls="--", lw=1.0)
    a.annotate("pass mark at 5 cm", (0.1, 0.81), fontsize=8, color="#b00020")
    a.set(xlabel="standard deviation of every tracked point, cm", ylabel="recall", ylim=(0.0, 1.02))
    a.spines[["top", "right"]].set_visible(False)
    a.legend(frameon=False, fontsize=8)
    return _save(figure, path)


def _canvas(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    # Imported here: it takes half a second.
    figure: Any = importlib.import_module("matplotlib.figure").Figure(
        figsize=(width * columns, height * rows), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _plain(axes: Any, picture: Array) -> None:
    axes.set(xlim=(0, picture.shape[1]), ylim=(picture.shape[0], 0))
    axes.set_axis_off()


def _save(figure: Any, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    path.write_bytes(buffer.getvalue())
    return path
