"""BlazePose in a process of its own: this file runs in an environment that has mediapipe and not robolearn.

    python blazepose_worker.py <file descriptor of a connected socket>

Every message is 4 bytes (big endian, length of a JSON text), the text, and for pictures their raw bytes. Asked
{"height": h, "width": w, "count": bool} + h*w*3 bytes of RGB, it answers {"people": n, "points": [[x, y, visibility],
...]} in pixels, 33 points or none. Asked {"reset": true} it forgets the film before. The end of the socket ends it.
"""

import hashlib
import importlib
import json
import socket
import struct
import sys
from pathlib import Path
from typing import Any


def receive(link: socket.socket, size: int) -> bytes:
    """Exactly so many bytes; fewer when the other side is gone."""
    parts = bytearray()
    while len(parts) < size:
        part = link.recv(min(size - len(parts), 1 << 20))
        if not part:
            break
        parts += part
    return bytes(parts)


def send(link: socket.socket, message: Any, payload: bytes = b"") -> None:
    """One message."""
    text = json.dumps(message).encode()
    link.sendall(struct.pack(">I", len(text)) + text + payload)


def main(descriptor: int) -> None:
    """Answer until the socket ends."""
    mediapipe: Any = importlib.import_module("mediapipe")
    import numpy as np

    root = Path(mediapipe.__file__).parent / "modules"
    weights = hashlib.sha256()
    for path in sorted((*root.glob("pose_detection/*.tflite"), *root.glob("pose_landmark/*full*.tflite"))):
        weights.update(path.read_bytes())
    pose: Any = mediapipe.solutions.pose
    follow: Any = pose.Pose(model_complexity=1)
    other: Any = None
    with socket.socket(fileno=descriptor) as link:
        send(link, {"mediapipe": mediapipe.__version__, "weights": weights.hexdigest()})
        while len(head := receive(link, 4)) == 4:
            asked = json.loads(receive(link, struct.unpack(">I", head)[0]))
            if asked.get("reset"):
                follow.close()
                follow = pose.Pose(model_complexity=1)
                send(link, {"reset": True})
                continue
            height, width = int(asked["height"]), int(asked["width"])
            data = receive(link, height * width * 3)
            if len(data) < height * width * 3:
                break
            picture = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            found: Any = follow.process(picture).pose_landmarks
            points: list[list[float]] = (
                [] if found is None else [[p.x * width, p.y * height, p.visibility] for p in found.landmark]
            )
            people = int(found is not None)
            if points and asked.get("count"):
                # The network knows one person. Whoever is still found when that one is painted over is another.
                box = np.array(points)[:, :2]
                size = 0.15 * (box.max(axis=0) - box.min(axis=0)) + 10
                low, high = np.maximum(box.min(axis=0) - size, 0).astype(int), (box.max(axis=0) + size).astype(int)
                rest = picture.copy()
                rest[low[1] : high[1], low[0] : high[0]] = 128
                other = other or pose.Pose(static_image_mode=True, model_complexity=1, min_detection_confidence=0.6)
                people += int(other.process(rest).pose_landmarks is not None)
            send(link, {"people": people, "points": points})


if __name__ == "__main__":
    main(int(sys.argv[1]))
