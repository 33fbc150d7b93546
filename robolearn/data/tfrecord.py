"""TFRecord files and the tf.train.Example messages in them, read without TensorFlow.

A record is length (8 bytes), masked CRC-32C of the length, data, masked CRC-32C of the data, all little-endian
(TensorFlow's documentation of the format). An Example is a protocol buffer: a map from names to lists of bytes, floats
or integers. Every checksum is compared; a damaged or cut file is an error that says at which record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from robolearn.errors import DataFileError
from robolearn.specs import Array

__all__ = ["crc32c", "parse_example", "read_records"]

_POLYNOMIAL = 0x82F63B78  # Castagnoli, reversed


def _tables() -> list[list[int]]:
    """Slicing by 8: the checksum of a byte followed by 0 to 7 zero bytes."""
    first: list[int] = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        first.append(crc)
    tables = [first]
    for _ in range(7):
        tables.append([first[crc & 255] ^ crc >> 8 for crc in tables[-1]])
    return tables


_TABLES = _tables()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of some bytes."""
    t0, t1, t2, t3, t4, t5, t6, t7 = _TABLES
    crc, whole = 0xFFFFFFFF, len(data) // 8
    for low, high in struct.iter_unpack("<II", data[: whole * 8]):
        crc ^= low
        crc = (
            t7[crc & 255]
            ^ t6[crc >> 8 & 255]
            ^ t5[crc >> 16 & 255]
            ^ t4[crc >> 24]
            ^ t3[high & 255]
            ^ t2[high >> 8 & 255]
            ^ t1[high >> 16 & 255]
            ^ t0[high >> 24]
        )
    for byte in data[whole * 8 :]:
        crc = t0[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """Every record of a file, checksums compared.

    Raises:
        DataFileError: The file is missing, cut off or damaged; says at which record.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataFileError(f"Expected a TFRecord file at {path}; {error.strerror}. Check the path.") from error
    with file:
        number = 0
        while head := file.read(12):
            at = f"{path}, record {number} at byte {file.tell() - len(head)}"
            if len(head) < 12 or _masked(head[:8]) != struct.unpack("<I", head[8:])[0]:
                raise DataFileError(f"{at}: its length is damaged or cut off; no record after it can be found.")
            (length,) = struct.unpack("<Q", head[:8])
            data, tail = file.read(length), file.read(4)
            if len(data) < length or len(tail) < 4:
                raise DataFileError(f"{at}: expected {length} bytes; the file ends after {len(data)}. Copy it again.")
            if _masked(data) != struct.unpack("<I", tail)[0]:
                raise DataFileError(f"{at}: its checksum is wrong; the file is damaged. Copy it again.")
            yield data
            number += 1


def parse_example(data: bytes) -> dict[str, list[bytes] | Array]:
    """The features of a tf.train.Example: bytes as lists, floats as float32, integers as int64.

    Raises:
        DataFileError: It is no Example.
    """
    found: dict[str, list[bytes] | Array] = {}
    try:
        for field, features in _fields(data):
            if field != 1:
                continue
            for _, entry in _fields(features):
                parts = dict(_fields(entry))
                found[bytes(parts[1]).decode()] = _feature(parts.get(2, memoryview(b"")))
    except (KeyError, IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise DataFileError(f"A record is no tf.train.Example ({type(error).__name__}: {error}).") from error
    return found


def _feature(data: bytes | memoryview) -> list[bytes] | Array:
    for kind, values in _fields(data):
        if kind == 1:
            return [bytes(value) for _, value in _fields(values)]
        if kind == 2:  # packed, or one by one
            parts = [bytes(value) for _, value in _fields(values)]
            return np.frombuffer(b"".join(parts), "<f4")
        if kind == 3:
            numbers: list[int] = []
            for _, value in _fields(values):
                at = 0
                while at < len(value):
                    number, at = _varint(value, at)
                    numbers.append(number - (1 << 64) if number >> 63 else number)
            return np.array(numbers, np.int64)
    return []


def _fields(data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of every field of a message; a varint's content is its own bytes."""
    view, at = memoryview(data), 0
    while at < len(view):
        key, at = _varint(view, at)
        start = at
        if key & 7 == 0:
            _, at = _varint(view, at)
        elif key & 7 == 1:
            at += 8
        elif key & 7 == 5:
            at += 4
        elif key & 7 == 2:
            length, start = _varint(view, at)
            at = start + length
        else:
            raise ValueError(f"unknown wire type {key & 7}")
        if at > len(view):
            raise ValueError("a field is cut off")
        yield key >> 3, view[start:at]


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number has too many bytes")
