"""One self-contained HTML page per run, for someone who never saw the project.

Pictures, curves and videos are embedded, so the file can be mailed. A page is a list of `Section`s; the helpers
below make their contents. Everything that comes from data is escaped.
"""

from __future__ import annotations

import base64
import html
import importlib
import io
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from robolearn.intervals import Rate
from robolearn.runs import code_version, replacing

__all__ = ["Section", "bars", "curves", "films", "paragraph", "provenance", "table", "video", "write_page"]

STYLE = Path(__file__).with_suffix(".css")


@dataclass(frozen=True, slots=True)
class Section:
    """One box of a page: a heading and ready HTML below it."""

    title: str
    body: str


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Write a page atomically and return its path."""
    boxes = "\n".join(f"<section><h2>{html.escape(s.title)}</h2>\n{s.body}\n</section>" for s in sections)
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE.read_text()}</style></head>\n<body><main>\n"
        f'<h1>{html.escape(title)}</h1>\n<p class="lead">{html.escape(lead)}</p>\n{boxes}\n</main></body></html>\n'
    )
    with replacing(path) as temporary:
        temporary.write_text(text)
    return path


def paragraph(text: str, *, note: bool = False) -> str:
    """A paragraph of plain text."""
    return f"<p{' class=note' if note else ''}>{html.escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, fold: str = "") -> str:
    """A table; with `fold`, hidden behind a line of that text."""
    head = "".join(f"<th>{html.escape(h)}</th>" for h in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    content = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f"<details><summary>{html.escape(fold)}</summary>{content}</details>" if fold else content


def bars(rates: Mapping[str, Rate]) -> str:
    """Success rates as horizontal bars with their 95 % intervals, drawn to one scale."""
    left, width, row = 210, 500, 38
    height = row * len(rates) + 34
    parts = [f'<svg viewBox="0 0 {left + width + 150} {height}" width="100%" font-family="system-ui" font-size="14">']
    for tick in range(0, 101, 25):
        x = left + width * tick / 100
        parts.append(f'<path d="M{x} 4V{height - 26}" stroke="currentColor" stroke-opacity=".15"/>')
        parts.append(_text(x, height - 8, f"{tick} %", "middle", 0.6))
    for k, (name, rate) in enumerate(rates.items()):
        y = row * k + row / 2 + 2
        low, high, end = (left + width * value for value in (rate.low, rate.high, rate.value))
        whisker = f"M{low:.1f} {y - 6}V{y + 6}M{low:.1f} {y}H{high:.1f}M{high:.1f} {y - 6}V{y + 6}"
        parts += [
            f'<rect x="{left}" y="{y - 9}" width="{end - left:.1f}" height="18" rx="3" fill="#2563a8" opacity=".75"/>',
            f'<path d="{whisker}" stroke="currentColor" stroke-width="2" fill="none"/>',
            _text(left - 12, y + 5, name, "end"),
            _text(left + width + 14, y + 5, f"{rate.value:.1%} of {rate.trials}", "start"),
        ]
    legend = paragraph("Bars: share of episodes that succeeded. Whiskers: 95 % Wilson interval.", note=True)
    return f"<div>{''.join(parts)}</svg></div>{legend}"


def _text(x: float, y: float, text: str, anchor: str, opacity: float = 1.0) -> str:
    place = f'x="{x}" y="{y}" text-anchor="{anchor}"'
    return f'<text {place} fill="currentColor" fill-opacity="{opacity}">{html.escape(text)}</text>'


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str, log: bool = False) -> str:
    """Line plots as an inline SVG drawn by matplotlib; series of name to (x values, y values)."""
    # Imported here: it takes half a second, and its types are too open for strict checking.
    mpl: Any = importlib.import_module("matplotlib")
    figure: Any = importlib.import_module("matplotlib.figure").Figure(figsize=(8, 3.2), layout="constrained")
    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "robolearn"}):
        axes: Any = figure.subplots()
        for name, (xs, ys) in series.items():
            axes.plot(xs, ys, label=name, marker="o" if len(xs) < 12 else None, linewidth=1.6)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if log and any(v > 0 and math.isfinite(v) for _, ys in series.values() for v in ys):
            axes.set_yscale("log")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(series) > 1:
            axes.legend(frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return f'<div class="plot">{text[text.index("<svg") :]}</div>'


def video(path: Path, caption: str) -> str:
    """An embedded MP4 with its caption; wrap several in `films`."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><video src="data:video/mp4;base64,{data}" autoplay loop muted playsinline controls></video>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def films(videos: Sequence[str]) -> str:
    """Videos in a grid."""
    return f'<div class="films">{"".join(videos)}</div>' if videos else paragraph("No videos were made.", note=True)


def provenance(facts: Mapping[str, object]) -> str:
    """What somebody needs to make the page again: command, versions, seeds, fingerprints."""
    packages: dict[str, str] = {}
    for name in ("numpy", "torch", "mujoco", "robosuite"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    rows: list[tuple[str, object]] = [
        ("command", " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        ("robolearn", code_version()),
        ("python", sys.version.split()[0]),
        ("packages", ", ".join(f"{k} {v}" for k, v in packages.items())),
        *facts.items(),
    ]
    return table(("what", "value"), rows)
