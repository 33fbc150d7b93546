"""Arrays as JSON text and back, exactly: what one message of the log contains.

Numbers are written with Python's shortest exact form, so float64 and (widened) float32 come back bit-equal. An array
"arm.q" lies under {"arm": {"q": [...]}}, or {"q": [...]} where the topic already names the device, so that plotting
tools can address "/observation/arm.q[0]". A non-finite number, allowed in notes and in what was requested, is the text
"NaN", "Infinity" or "-Infinity", because JSON has none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from robolearn.data.video import is_filmed
from robolearn.errors import SpecError
from robolearn.specs import Array, Arrays, ArraySpec, Spec, check

__all__ = [
    "COUNTER",
    "GroupEncoder",
    "decode_arrays",
    "field_of",
    "json_schema",
    "note_spec",
    "notes_text",
    "split_by_device",
]

COUNTER = "_counter"
"""Field of a message that holds the device's own frame counter."""
_KINDS = "biuf"


def field_of(name: str) -> tuple[str, str]:
    """Device and field of a flat name: "arm.q" is ("arm", "q"), "gripper" is ("gripper", "value")."""
    device, _, field = name.partition(".")
    return device, field or "value"


def split_by_device(spec: Spec) -> dict[str, dict[str, str]]:
    """Per device its fields and their flat names.

    Raises:
        SpecError: A type that cannot be logged, a name unfit for a file, or two names for one field.
    """
    devices: dict[str, dict[str, str]] = {}
    for name, one in spec.items():
        if not name.replace(".", "").replace("_", "").replace("-", "").isalnum() or name[0] in ".-":
            raise SpecError(
                f"The array name {name!r} cannot be recorded: expected letters, digits, '_', '-' and '.', not starting "
                "with '.' or '-'. Rename it in the spec."
            )
        dtype = np.dtype(one.dtype)
        if dtype.kind not in _KINDS or dtype.itemsize > 8:
            raise SpecError(
                f"{name!r} is {one.dtype}, which the log cannot hold exactly. Possible are bool, integers and floats "
                "of up to 64 bits; convert it where it is made."
            )
        device, field = field_of(name)
        if field == COUNTER:
            raise SpecError(f"The field {COUNTER!r} of {name!r} belongs to the log's frame counters; rename it.")
        fields = devices.setdefault(device, {})
        if field in fields:
            raise SpecError(f"{name!r} and {fields[field]!r} would share one field of the log; rename one of them.")
        fields[field] = name
    return devices


def _note_text(value: Array) -> str:
    def plain(item: Any) -> Any:
        if isinstance(item, list):
            return [plain(i) for i in cast(list[Any], item)]
        if isinstance(item, float) and not math.isfinite(item):
            return "NaN" if math.isnan(item) else "Infinity" if item > 0 else "-Infinity"
        return item

    return json.dumps(plain(value.tolist()))


def _kind(spec: ArraySpec) -> str:
    return "picture" if is_filmed(spec) else "bool" if spec.dtype == "bool" else "number"


class GroupEncoder:
    """Turns the arrays of one spec into JSON text, checked on the way.

    Args:
        spec: What is encoded; pictures are only checked.
        where: Whose arrays these are, for messages.
        finite: Refuse NaN and infinity.
    """

    def __init__(self, spec: Spec, where: str, *, finite: bool = True):
        self.spec, self._where, self._finite = spec, where, finite
        self._plan = [
            (device, [(f'"{field}":', name) for field, name in fields.items()])
            for device, fields in split_by_device(spec).items()
        ]
        # A dtype object compares ten times faster than its name; this runs for every array of every step.
        self._columns = [(name, one.shape, np.dtype(one.dtype), one, _kind(one)) for name, one in spec.items()]

    def texts(self, arrays: Arrays, known: tuple[Arrays, Mapping[str, str]] | None = None) -> dict[str, str]:
        """Text of every array that is not a picture, by name.

        Args:
            arrays: What is encoded.
            known: Other arrays of the same spec with their texts, reused where they are bit-equal (a command that was
                sent as requested): spelling floats is most of the cost of recording.

        Raises:
            SpecError: Names, shapes or types differ from the spec, or a number is not finite where it must be.
        """
        if arrays.keys() != self.spec.keys():
            check(arrays, self.spec, finite=self._finite, where=self._where)
        texts: dict[str, str] = {}
        for name, shape, dtype, one, kind in self._columns:
            array = np.asarray(arrays[name])
            if array.shape != shape or array.dtype != dtype:
                check({name: array}, {name: one}, finite=self._finite, where=self._where)
            if known is not None and '"' not in known[1][name] and array.tobytes() == known[0][name].tobytes():
                texts[name] = known[1][name]
            elif kind == "number":
                texts[name] = text = repr(array.tolist())
                if "n" in text:  # "nan" and "inf" are the only numbers spelled with an n
                    check({name: array}, {name: one}, finite=self._finite, where=self._where)
                    texts[name] = _note_text(array)
            elif kind == "bool":
                texts[name] = json.dumps(array.tolist())
        return texts

    def messages(self, texts: Mapping[str, str]) -> list[tuple[str, str]]:
        """Per device its object: [("arm", '{"q": [...]}'), ...]."""
        return [(device, "{" + ",".join([key + texts[n] for key, n in fields]) + "}") for device, fields in self._plan]

    def nested(self, texts: Mapping[str, str]) -> str:
        """One object of devices: {"arm": {"q": [...]}, ...}."""
        return "{" + ",".join([f'"{device}":{text}' for device, text in self.messages(texts)]) + "}"


def note_spec(notes: Arrays) -> dict[str, ArraySpec]:
    """The spec that a first row of notes fixes for the rest of the episode ("str" for texts).

    Raises:
        SpecError: A type that cannot be logged.
    """
    found: dict[str, ArraySpec] = {}
    for name, value in notes.items():
        array = np.asarray(value)
        if array.dtype.kind not in _KINDS + "U" or (array.dtype.kind != "U" and array.dtype.itemsize > 8):
            raise SpecError(
                f"The note {name!r} is {array.dtype}, which the log cannot hold exactly. Possible are bool, integers, "
                "floats of up to 64 bits and texts; convert it where it is made."
            )
        found[name] = ArraySpec(array.shape, "str" if array.dtype.kind == "U" else array.dtype.name)
    return found


def notes_text(notes: Arrays, spec: Spec) -> str:
    """JSON text of one row of notes under their flat names; non-finite numbers are allowed here.

    Raises:
        SpecError: The notes differ from those of the first row.
    """
    parts: list[str] = []
    if notes.keys() != spec.keys():
        raise SpecError(
            f"Every step of an episode needs the same notes; the first step had {sorted(spec)}, found {sorted(notes)}."
        )
    for name, one in spec.items():
        array = np.asarray(notes[name])
        texts = array.dtype.kind == "U"
        if array.shape != one.shape or (not texts and array.dtype != one.dtype) or texts != (one.dtype == "str"):
            kind = "str" if texts else array.dtype.name
            raise SpecError(
                f"The note {name!r} must keep the shape and type of the first step, {one.shape} {one.dtype}; "
                f"found {array.shape} {kind}."
            )
        plain = array.dtype.kind in "iu"
        parts.append(f"{json.dumps(name)}:{array.tolist() if plain else _note_text(array)}")
    return "{" + ",".join(parts) + "}"


def decode_arrays(values: Sequence[Any], spec: ArraySpec) -> Array:
    """The inverse for a column of decoded messages: (len(values), *shape) of the spec's type.

    Raises:
        ValueError: The values do not have the spec's shape or type.
    """
    dtype = None if spec.dtype == "str" else np.dtype(spec.dtype)
    column = np.array(values, dtype=dtype)
    if column.shape != (len(values), *spec.shape):
        raise ValueError(f"expected shape {(len(values), *spec.shape)}, found {column.shape}")
    return column


def json_schema(fields: Iterable[tuple[str, ArraySpec]]) -> dict[str, Any]:
    """The JSON Schema of an object with these fields; an image's field is its frame number in the video."""

    def leaf(spec: ArraySpec) -> dict[str, Any]:
        if is_filmed(spec):
            return {"type": "integer", "description": "frame number in the video beside the log"}
        kind = "string" if spec.dtype == "str" else np.dtype(spec.dtype).kind
        node: dict[str, Any] = {"type": {"b": "boolean", "f": "number", "string": "string"}.get(kind, "integer")}
        for size in reversed(spec.shape):
            node = {"type": "array", "items": node, "minItems": size, "maxItems": size}
        words = [spec.unit, f"in frame {spec.frame}" if spec.frame else "", ", ".join(spec.names)]
        return node | ({"description": "; ".join(w for w in words if w)} if any(words) else {})

    return {"type": "object", "properties": {name: leaf(spec) for name, spec in fields}}
