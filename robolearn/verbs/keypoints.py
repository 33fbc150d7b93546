"""`robolearn keypoints`: the pose detector's own environment."""

from __future__ import annotations

from collections.abc import Sequence

from robolearn.cli import say
from robolearn.errors import UnknownName
from robolearn.keypoints.blazepose import BlazePoseConfig, environment, install, installed

ACTIONS = ("install", "info")


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    if not arguments or arguments[0] in ("-h", "--help"):
        say(
            "usage: robolearn keypoints install | info",
            "install   put mediapipe 0.10.21 (BlazePose with its network) into an environment of its own",
            "info      where it is, and which network it has",
        )
        return 0
    if arguments[0] not in ACTIONS:
        raise UnknownName("action of robolearn keypoints", arguments[0], ACTIONS)
    if arguments[0] == "install":
        say(f"BlazePose is ready in {install()}.")
        return 0
    if not installed():
        say(f"Not installed in {environment()}. Run: robolearn keypoints install")
        return 1
    detector = BlazePoseConfig().build()
    try:
        say(f"BlazePose in {environment()}, version {detector.version}, points: {', '.join(detector.names)}")
    finally:
        detector.close()
    return 0
