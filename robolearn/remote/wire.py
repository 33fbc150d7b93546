"""What goes over the wire: msgpack maps in which an array is its type, shape and bytes.

No byte that came over a network is ever unpickled or evaluated. An array is taken apart into plain values, and put
together only when its type is a plain number, its bytes are exactly as many as its shape says, and a `Spec` expects
it. Messages are maps with a "kind"; each direction has the kinds listed in `server.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from robolearn.errors import MissingDependency, RobolearnError, SpecError
from robolearn.specs import Array, Arrays, Spec, check

__all__ = ["MAX_BYTES", "PROTOCOL", "WireError", "pack", "pack_arrays", "unpack", "unpack_arrays"]

PROTOCOL = "robolearn.policy.1"
"""The WebSocket subprotocol; another version is another name."""
MAX_BYTES = 64 << 20
"""Largest message; a larger one closes the connection before it is read."""
_KINDS = "biuf"
"""Types of arrays: truth values, whole numbers, floating-point numbers."""


class WireError(RobolearnError):
    """A message is not what the protocol says."""


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as bytes."""
    return bytes(_msgpack().packb(message, use_bin_type=True))


def unpack(data: object) -> dict[str, Any]:
    """The message of bytes.

    Raises:
        WireError: They are not a msgpack map with a "kind", or a text frame came.
    """
    if not isinstance(data, bytes):
        raise WireError("Expected a binary message; found text. The other side does not speak this protocol.")
    library = _msgpack()
    try:
        message: object = library.unpackb(
            data, raw=False, strict_map_key=True, max_bin_len=MAX_BYTES, max_array_len=1 << 16, max_map_len=1 << 12
        )
    except (ValueError, library.UnpackException, RecursionError) as error:
        raise WireError(f"The message is not msgpack: {error}.") from error
    if not isinstance(message, dict) or not isinstance(cast("dict[str, Any]", message).get("kind"), str):
        raise WireError('Expected a msgpack map with the key "kind"; found something else.')
    return cast("dict[str, Any]", message)


def pack_arrays(arrays: Arrays) -> dict[str, Any]:
    """Arrays as plain values."""
    packed: dict[str, Any] = {}
    for name, array in arrays.items():
        whole = np.asarray(array, order="C")
        if whole.dtype.kind not in _KINDS:
            raise SpecError(f"{name!r} of type {whole.dtype} cannot be sent; expected numbers.")
        packed[name] = {
            "dtype": whole.dtype.newbyteorder("<").str,
            "shape": list(whole.shape),
            "data": whole.astype(whole.dtype.newbyteorder("<"), copy=False).tobytes(),
        }
    return packed


def unpack_arrays(packed: object, spec: Spec, lead: tuple[int, ...], where: str) -> dict[str, Array]:
    """Arrays of plain values, exactly those of a spec behind leading axes; they are the caller's to keep.

    Raises:
        WireError: Something is not an array, or arrays do not fit the spec or are not finite.
    """
    if not isinstance(packed, dict):
        raise WireError(f"{where}: expected a map of arrays; found {type(packed).__name__}.")
    arrays = {str(name): _array(item, f"{where}: {name!r}") for name, item in cast("dict[str, Any]", packed).items()}
    try:
        check(arrays, spec, lead=lead, where=where)
    except SpecError as error:
        raise WireError(str(error)) from error
    return arrays


def _array(item: object, what: str) -> Array:
    if not isinstance(item, dict):
        raise WireError(f"{what} is not an array.")
    facts = cast("dict[str, Any]", item)
    dtype, shape, data = facts.get("dtype"), facts.get("shape"), facts.get("data")
    if not (isinstance(dtype, str) and len(dtype) == 3 and dtype[0] in "<|" and dtype[1] in _KINDS):
        raise WireError(f"{what} has the type {dtype!r}; expected a number such as '<f8' or '|u1'.")
    sizes = cast("list[object]", shape) if isinstance(shape, list) else [None]
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes):
        raise WireError(f"{what} has the shape {shape!r}; expected a list of sizes.")
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise WireError(f"{what} has the type {dtype!r}, which does not exist.") from error
    wanted = kind.itemsize
    for size in cast("list[int]", sizes):
        wanted *= size
    if not isinstance(data, bytes) or len(data) != wanted:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise WireError(f"{what} of shape {shape} and type {dtype} needs {wanted} bytes; found {found}.")
    return np.frombuffer(data, kind).reshape(cast("list[int]", sizes)).copy()


def _msgpack() -> Any:
    try:
        return importlib.import_module("msgpack")
    except ImportError as error:
        raise MissingDependency("msgpack", "remote", "A remote policy") from error
