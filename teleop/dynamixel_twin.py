"""Servos that speak Dynamixel protocol 2.0 on a pseudo terminal: the other end of a leader arm's serial port.

After ROBOTIS' description of protocol 2.0: a packet is FF FF FD 00, id, length (little-endian, from the instruction to
the checksum), instruction, parameters with FF FF FD stuffed by another FD, and CRC-16 (polynomial 0x8005, start 0) over
everything before it. Instructions: ping (1), read (2), write (3), sync read (0x82); answers are 0x55 with an error
byte. Unknown ids stay silent, as on a real bus.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import struct
import threading
import tty
from collections.abc import Sequence

from robolearn.clock import Clock
from teleop.seeded import SeededHand

__all__ = ["DynamixelTwin", "crc16"]

HEADER, BROADCAST = b"\xff\xff\xfd\x00", 0xFE
PING, READ, WRITE, SYNC_READ, STATUS = 0x01, 0x02, 0x03, 0x82, 0x55
MODEL, POSITION, TABLE = 1060, 132, 256


def crc16(data: bytes) -> int:
    """The checksum of protocol 2.0."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def packet(id: int, instruction: int, parameters: bytes) -> bytes:
    """A whole packet with stuffing and checksum."""
    body = (bytes([instruction]) + parameters).replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")
    head = HEADER + bytes([id]) + struct.pack("<H", len(body) + 2) + body
    return head + struct.pack("<H", crc16(head))


class DynamixelTwin:
    """The bus. Close it to end its thread.

    Args:
        joints: Ids of the joints' servos.
        trigger: Id of the trigger's servo, or None.
        start_rad: Where the joints begin.
        hand: Bends the joints and squeezes the trigger.
        clock: Time of the hand.
    """

    def __init__(
        self, joints: Sequence[int], trigger: int | None, start_rad: Sequence[float], hand: SeededHand, clock: Clock
    ):
        self._joints, self._trigger, self._start = tuple(joints), trigger, tuple(start_rad)
        self._hand, self._clock = hand, clock
        self._tables = {id: bytearray(TABLE) for id in (*self._joints, *(() if trigger is None else (trigger,)))}
        self.bad = 0
        """Packets whose checksum was wrong."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        """Name of the serial port, for the SDK."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="dynamixel twin", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and take the port away; safe to call twice."""
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _serve(self) -> None:
        buffer = b""
        while not self._over.is_set():
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            with contextlib.suppress(OSError):
                buffer += os.read(self._master, 4096)
            while (start := buffer.find(HEADER)) >= 0 and len(buffer) >= start + 7:
                length = struct.unpack("<H", buffer[start + 5 : start + 7])[0]
                if len(buffer) < start + 7 + length:
                    break
                whole, buffer = buffer[start : start + 7 + length], buffer[start + 7 + length :]
                if crc16(whole[:-2]) != struct.unpack("<H", whole[-2:])[0]:
                    self.bad += 1
                elif not self._hand.gone(self._clock.now()):
                    os.write(
                        self._master, self._answer(whole[4], whole[7:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd"))
                    )

    def _answer(self, id: int, body: bytes) -> bytes:
        instruction, parameters = body[0], body[1:]
        self._move()
        if instruction == SYNC_READ:
            address, count = struct.unpack("<HH", parameters[:4])
            ids = [k for k in parameters[4:] if k in self._tables]
            return b"".join(packet(k, STATUS, b"\0" + bytes(self._tables[k][address : address + count])) for k in ids)
        ids = list(self._tables) if id == BROADCAST else [id] * (id in self._tables)
        if instruction == PING:
            return b"".join(packet(k, STATUS, b"\0" + struct.pack("<HB", MODEL, 45)) for k in ids)
        if instruction == READ:
            address, count = struct.unpack("<HH", parameters[:4])
            return b"".join(packet(k, STATUS, b"\0" + bytes(self._tables[k][address : address + count])) for k in ids)
        if instruction == WRITE:
            address = struct.unpack("<H", parameters[:2])[0]
            for k in ids:
                self._tables[k][address : address + len(parameters) - 2] = parameters[2:]
            return b"".join(packet(k, STATUS, b"\0") for k in ids) if id != BROADCAST else b""
        return b"".join(packet(k, STATUS, b"\x02") for k in ids)  # instruction error

    def _move(self) -> None:
        state = self._hand.at(self._clock.now())
        angles = {id: self._start[k] + float(state.bend[k % 8]) for k, id in enumerate(self._joints)}
        if self._trigger is not None:
            angles[self._trigger] = (0.7 if state.closed else 0.2) * state.enable
        for id, angle in angles.items():
            counts = round(angle * 4096 / (2 * math.pi)) + 2048
            self._tables[id][POSITION : POSITION + 4] = struct.pack("<i", counts)
