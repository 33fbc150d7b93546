"""How much room a recording may need, estimated high, so that an episode that is started can be finished."""

from __future__ import annotations

import math

from robolearn.data.video import LOSSLESS_UP_TO_PX, is_filmed
from robolearn.errors import SpecError
from robolearn.specs import ArraySpec, Spec

__all__ = ["room_needed"]

_CAMERA_HZ = 60.0  # pictures and samples may come faster than decisions
_SAMPLE_HZ = 500.0
_NUMBER_BYTES = 20  # a float64 as text with its comma
_MESSAGE_BYTES = 120
_LOSSY = 0.5  # bytes per pixel of H.264 at crf 18: noisy scenes measured 0.1 to 0.4


def room_needed(
    rate_hz: float, observation_spec: Spec, action_spec: Spec, longest_s: float, lossless: bool | None = None
) -> int:
    """Bytes that an episode of this length may take, a generous estimate.

    Args:
        rate_hz: Decisions per second.
        observation_spec: What is observed.
        action_spec: What is commanded.
        longest_s: Length of the episode in seconds.
        lossless: As in `Store.record`.

    Raises:
        SpecError: The length is negative or not finite.
    """
    if not (math.isfinite(longest_s) and longest_s >= 0):
        raise SpecError(f"The longest episode must be a finite number of seconds, at least 0; found {longest_s!r}.")
    per_s = 0.0
    for spec in observation_spec.values():
        if is_filmed(spec):
            per_s += _picture_bytes(spec, lossless) * max(rate_hz, _CAMERA_HZ)
        else:
            per_s += (_MESSAGE_BYTES + _NUMBER_BYTES * math.prod(spec.shape)) * max(rate_hz, _SAMPLE_HZ)
    for spec in action_spec.values():
        per_s += 2 * (_MESSAGE_BYTES + _NUMBER_BYTES * math.prod(spec.shape)) * rate_hz
    return math.ceil(per_s * longest_s)


def _picture_bytes(spec: ArraySpec, lossless: bool | None) -> float:
    pixels = spec.shape[0] * spec.shape[1]
    if spec.dtype == "uint16":
        return 2.0 * pixels
    kept = max(spec.shape[:2]) <= LOSSLESS_UP_TO_PX if lossless is None else lossless
    return pixels * (3.3 if kept else _LOSSY)
