"""The MCAP container at the level of records: an appender with one `write()` per record group and a tolerant scanner.

The stock writer buffers and the stock reader gives up at a torn tail; a recorder needs the opposite of both. What is
written here is plain unchunked MCAP (https://mcap.dev/spec): once finished, with its summary and checksums, every MCAP
tool reads it. `scan` returns the exact prefix of whole records of any bytes and never raises.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

__all__ = ["MAGIC", "Channel", "Message", "RecordWriter", "Scan", "scan", "tick_checksum"]

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE = 1, 2, 3, 4, 5
STATISTICS, SUMMARY_OFFSET, DATA_END = 11, 14, 15
_MESSAGE_HEAD = struct.Struct("<BQHIQQ")
_MESSAGE_FIELDS = 22


@dataclass(frozen=True, slots=True)
class Channel:
    """One stream of a file: its number, topic and free text facts."""

    number: int
    topic: str
    metadata: Mapping[str, str]


class Message(NamedTuple):
    """Where one message lies and when it was captured and received (integer nanoseconds)."""

    channel: int
    received_ns: int
    captured_ns: int
    record: int
    start: int
    end: int


@dataclass(slots=True)
class Scan:
    """The whole records at the start of some bytes.

    Attributes:
        end: Length of the valid prefix of the data section in bytes; 0 when not even the header is whole.
        channels: By number.
        messages: In order of the file.
        definitions: Schema and channel records as bytes, repeated in the summary of a finished file.
        finished: The file ends as a finished MCAP does and the checksum of its data section is right.
    """

    end: int = 0
    channels: dict[int, Channel] = field(default_factory=lambda: {})
    messages: list[Message] = field(default_factory=lambda: [])
    definitions: dict[int, list[bytes]] = field(default_factory=lambda: {SCHEMA: [], CHANNEL: []})
    finished: bool = False


def _record(opcode: int, body: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(body)) + body


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<I", len(data)) + data


def _texts(values: Mapping[str, str]) -> bytes:
    data = b"".join(_text(key) + _text(value) for key, value in values.items())
    return struct.pack("<I", len(data)) + data


def _read_text(body: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", body, at)
    end = at + 4 + length
    if end > len(body):
        raise ValueError("text runs past its record")
    return body[at + 4 : end].decode(), end


def _read_channel(body: bytes) -> Channel:
    number, _ = struct.unpack_from("<HH", body)
    topic, at = _read_text(body, 4)
    _, at = _read_text(body, at)
    (length,) = struct.unpack_from("<I", body, at)
    at, stop = at + 4, at + 4 + length
    metadata: dict[str, str] = {}
    while at < stop:
        key, at = _read_text(body, at)
        metadata[key], at = _read_text(body, at)
    return Channel(number, topic, metadata)


def scan(data: bytes) -> Scan:
    """Read every whole record from the start; stop without an error where the bytes stop making sense."""
    found = Scan()
    if data[: len(MAGIC)] != MAGIC:
        return found
    at, size = len(MAGIC), len(data)
    while at + 9 <= size:
        opcode, length = struct.unpack_from("<BQ", data, at)
        start, end = at + 9, at + 9 + length
        if end > size:
            break
        try:
            if opcode == MESSAGE and length >= _MESSAGE_FIELDS:
                channel, _, received, captured = struct.unpack_from("<HIQQ", data, start)
                if channel not in found.channels:
                    break
                found.messages.append(Message(channel, received, captured, at, start + _MESSAGE_FIELDS, end))
            elif opcode == CHANNEL:
                channel = _read_channel(data[start:end])
                found.channels[channel.number] = channel
                found.definitions[CHANNEL].append(data[at:end])
            elif opcode == SCHEMA:
                found.definitions[SCHEMA].append(data[at:end])
            elif opcode == DATA_END:
                (crc,) = struct.unpack_from("<I", data, start)
                found.finished = data.endswith(MAGIC) and size > end + 8 and crc == zlib.crc32(data[:at])
                break
            elif opcode != HEADER:
                break
        except (struct.error, ValueError):  # UnicodeDecodeError is a ValueError
            break
        found.end = at = end
    return found


def tick_checksum(before: int, tick: int, received_ns: int, captured_ns: int) -> int:
    """CRC-32 of a file's start (`before`) and of a tick's own facts, which no later record may ever follow."""
    return zlib.crc32(struct.pack("<QQQ", tick, received_ns, captured_ns), before)


class RecordWriter:
    """Appends records to an MCAP file, one unbuffered `write()` per `flush`.

    Records collect in memory until `flush`, which hands them to the kernel in one piece: after it returns, the death of
    the process loses none of them. When the disk is full the file is cut back to its last whole group.
    """

    def __init__(self, path: Path, library: str):
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._pending = bytearray()
        self._hashed = 0  # how much of the pending bytes is in the checksum already
        self._crc = 0
        self._definitions: dict[int, list[bytes]] = {SCHEMA: [], CHANNEL: []}
        self._counts: dict[int, int] = {}
        self._first_ns = self._last_ns = 0
        self.size = 0
        self._pending += MAGIC + _record(HEADER, _text("robolearn") + _text(library))

    @classmethod
    def resume(cls, path: Path, prefix: bytes, scanned: Scan) -> RecordWriter:
        """A new file that starts as a copy of a valid prefix and can be appended to and finished."""
        writer = cls(path, "")
        writer._pending[:] = prefix
        writer._definitions = {kind: list(records) for kind, records in scanned.definitions.items()}
        for message in scanned.messages:
            writer._count(message.channel, message.received_ns)
        return writer

    @property
    def fd(self) -> int:
        """Descriptor of the file, -1 when it is closed."""
        return self._fd

    @property
    def crc(self) -> int:
        """CRC-32 of everything added so far, written or pending."""
        self._crc = zlib.crc32(self._pending[self._hashed :] if self._hashed else self._pending, self._crc)
        self._hashed = len(self._pending)
        return self._crc

    def _count(self, channel: int, received_ns: int) -> None:
        if not self._counts:
            self._first_ns = self._last_ns = received_ns
        elif received_ns > self._last_ns:
            self._last_ns = received_ns
        elif received_ns < self._first_ns:
            self._first_ns = received_ns
        self._counts[channel] = self._counts.get(channel, 0) + 1

    def channel(self, topic: str, schema: bytes, metadata: Mapping[str, str] | None = None) -> int:
        """Declare a stream of JSON messages described by a JSON Schema; returns its number."""
        number = len(self._definitions[CHANNEL]) + 1
        name = topic.strip("/").replace("/", ".")
        described = struct.pack("<H", number) + _text(name) + _text("jsonschema") + struct.pack("<I", len(schema))
        declared = struct.pack("<HH", number, number) + _text(topic) + _text("json") + _texts(metadata or {})
        for kind, body in ((SCHEMA, described + schema), (CHANNEL, declared)):
            self._definitions[kind].append(_record(kind, body))
            self._pending += self._definitions[kind][-1]
        return number

    def message(self, channel: int, received_ns: int, captured_ns: int, data: bytes) -> None:
        """Add a message to the group that the next `flush` writes."""
        counts = self._counts
        sequence = counts.get(channel, 0)
        if received_ns >= self._last_ns and counts:  # the usual case, without a call
            self._last_ns = received_ns
            counts[channel] = sequence + 1
        else:
            self._count(channel, received_ns)
        self._pending += _MESSAGE_HEAD.pack(
            MESSAGE, _MESSAGE_FIELDS + len(data), channel, sequence, received_ns, captured_ns
        )
        self._pending += data

    def flush(self) -> None:
        """Write the collected records with one system call.

        Raises:
            OSError: The disk is full or failing; the file is cut back to the last whole group and takes no more.
        """
        if self._fd < 0:
            raise ValueError("The log is closed.")
        _ = self.crc
        data, self._pending, self._hashed = self._pending, bytearray(), 0
        try:
            written = os.write(self._fd, data)
            while written < len(data):  # the kernel took a part: the next call says why
                written += os.write(self._fd, data[written:])
        except OSError:
            with contextlib.suppress(OSError):  # the first error is the one to tell; a torn tail is readable anyway
                os.ftruncate(self._fd, self.size)
            self.close()
            raise
        self.size += len(data)

    def finish(self) -> None:
        """Write the end of the data section, the summary and the footer, then close."""
        self._pending += _record(DATA_END, struct.pack("<I", self.crc))
        start = self.size + len(self._pending)
        counts = b"".join(struct.pack("<HQ", channel, count) for channel, count in self._counts.items())
        definitions = self._definitions
        statistics = struct.pack(
            "<QHIIIIQQI",
            sum(self._counts.values()),
            len(definitions[SCHEMA]),
            len(definitions[CHANNEL]),
            0,
            0,
            0,
            self._first_ns,
            self._last_ns,
            len(counts),
        )
        summary, offsets = b"", b""
        for kind, records in (*definitions.items(), (STATISTICS, [_record(STATISTICS, statistics + counts)])):
            group = b"".join(records)
            offsets += _record(SUMMARY_OFFSET, struct.pack("<BQQ", kind, start + len(summary), len(group)))
            summary += group
        footer = struct.pack("<BQQQ", FOOTER, 20, start, start + len(summary))
        footer += struct.pack("<I", zlib.crc32(summary + offsets + footer))
        self._pending += summary + offsets + footer + MAGIC
        self.flush()
        self.close()

    def close(self) -> None:
        """Close the file as it stands; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
