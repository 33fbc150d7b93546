"""`robolearn keypoints`: the pose detector's own environment, and what it sees in stored films."""

from __future__ import annotations

from collections.abc import Sequence

from robolearn.cli import say
from robolearn.data.store import Store
from robolearn.errors import UnknownName
from robolearn.keypoints.blazepose import BlazePoseConfig, environment, install, installed
from robolearn.keypoints.films import detect_episode

ACTIONS = ("install", "info", "detect")


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    if not arguments or arguments[0] in ("-h", "--help"):
        say(
            "usage: robolearn keypoints install | info | detect STORE [CAMERA]",
            "install   put mediapipe 0.10.21 (BlazePose with its network) into an environment of its own",
            "info      where it is, and which network it has",
            "detect    watch every film of a store (camera 'front'), and keep the points beside it as derived streams",
        )
        return 0
    if arguments[0] not in ACTIONS:
        raise UnknownName("action of robolearn keypoints", arguments[0], ACTIONS)
    if arguments[0] == "install":
        say(f"BlazePose is ready in {install()}.")
        return 0
    if arguments[0] == "detect":
        return _detect(arguments[1:])
    if not installed():
        say(f"Not installed in {environment()}. Run: robolearn keypoints install")
        return 1
    detector = BlazePoseConfig().build()
    try:
        say(f"BlazePose in {environment()}, version {detector.version}, points: {', '.join(detector.names)}")
    finally:
        detector.close()
    return 0


def _detect(arguments: Sequence[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        say("Expected a store and perhaps a camera: robolearn keypoints detect STORE [CAMERA]")
        return 2
    camera = arguments[1] if len(arguments) == 2 else "front"
    with Store.open(arguments[0]) as store:
        for id in store.ids():
            # One detector per film: it tracks from picture to picture.
            detector = BlazePoseConfig().build()
            try:
                raw, fixed, names = detect_episode(store, id, detector, "blazepose", camera=camera)
            finally:
                detector.close()
            say(
                f"{id}: {len(raw.turned)} pictures, somebody in {(raw.detection.people > 0).mean():.0%}, sides "
                f"exchanged in {fixed.turned.mean():.0%}, rejected {fixed.quality.rejected.mean():.0%}: "
                f"{names[0]}, {names[1]}"
            )
    return 0
