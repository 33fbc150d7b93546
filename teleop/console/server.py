"""The console's web server: static pages, one WebSocket per page, and the pictures of a review.

A connection has a reader and a writer. The reader checks each message (`messages`) and hands it to the desk; whoever
sends nonsense or floods is cut off. The writer sends the newest state and the newest pictures at its own pace, so a
slow page skips and nothing piles up. Roles come from the path, and from the token where there are tokens.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import struct
from typing import Any

from fastapi import FastAPI, WebSocket
from fastapi.responses import JSONResponse, Response
from starlette.websockets import WebSocketDisconnect

from robolearn.clock import Clock
from robolearn.serving import App
from teleop.console import messages
from teleop.console.clocks import ClientClock
from teleop.console.console import MOST_PEOPLE, Console
from teleop.console.desk import ROLES, Desk, Person
from teleop.console.messages import BadMessage

__all__ = ["build_app"]

PAGES = {
    "": "index.html",
    "operator": "operator.html",
    "adversary": "adversary.html",
    "console.css": "console.css",
    "index.css": "index.css",
    "operator.css": "operator.css",
    "adversary.css": "adversary.css",
    "link.js": "link.js",
    "live.js": "live.js",
    "operator.js": "operator.js",
    "hand.js": "hand.js",
    "review.js": "review.js",
    "adversary.js": "adversary.js",
    "map.js": "map.js",
    "index.js": "index.js",
}
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
STATE_HZ = 10.0
SEND_S = 5.0
"""A page that takes nothing for this long is cut off."""
MESSAGES_PER_S, MESSAGES_AT_ONCE, PATIENCE = 120.0, 240.0, 500
"""What a page may send; whoever has sent so many beyond it, or so many that are no messages, is cut off."""
MOST_NONSENSE = 20


def build_app(console: Console) -> App:
    """The application; put a `Guard` around it."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    bodies = {name: importlib.resources.files("teleop.console").joinpath("page", file).read_bytes()
              for name, file in PAGES.items()}  # fmt: skip

    def page(name: str) -> Any:
        kind = KINDS[PAGES[name].rpartition(".")[2]]
        return lambda: Response(bodies[name], media_type=kind)

    for name in PAGES:
        app.add_api_route(f"/{name}", page(name), methods=["GET", "HEAD"])

    @app.get("/api/review")
    def review() -> Response:
        found = console.review()
        if found is None:
            return JSONResponse({"error": "There is nothing in review."}, 404)
        return JSONResponse(found)

    @app.get("/api/review/film/{camera}")
    def film(camera: str) -> Response:
        if console.review() is None or camera not in console.hello()["cameras"]:
            return JSONResponse({"error": "There is no such film in review."}, 404)
        frames = console.film.episode(camera)
        table = struct.pack(f"<I{len(frames)}d{len(frames)}I", len(frames), *(f.captured for f in frames),
                            *(len(f.data) for f in frames))  # fmt: skip
        return Response(table + b"".join(f.data for f in frames), media_type="application/octet-stream")

    @app.websocket("/ws/{role}")
    async def socket(websocket: WebSocket, role: str) -> None:
        allowed = websocket.scope["role"]
        if role not in ROLES or (allowed and allowed != role) or len(console.desk.people()) >= MOST_PEOPLE:
            await websocket.close(1008)
            return
        await websocket.accept()
        person = console.desk.join(role)
        writer = asyncio.create_task(_write(websocket, console, person))
        try:
            await _read(websocket, console, person)
        except WebSocketDisconnect:
            pass
        finally:
            console.desk.leave(person)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    return app  # pyright: ignore[reportReturnType]


async def _read(websocket: WebSocket, console: Console, person: Person) -> None:
    gauge = _Gauge(console.clock)
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if not gauge.take():
            if gauge.excess > PATIENCE:
                console.desk.refuse(person, "flood", "sends far too much; the connection is closed")
                await websocket.close(1008)
                return
            continue
        try:
            text = message.get("text")
            if text is None:
                raise BadMessage("expected text")
            said = messages.parse(text)
        except BadMessage as error:
            gauge.nonsense += 1
            if gauge.nonsense > MOST_NONSENSE:
                console.desk.refuse(person, "nonsense", "sends no messages of ours; the connection is closed")
                await websocket.close(1008)
                return
            await _send(websocket, {"type": "error", "error": str(error)})
            continue
        if isinstance(said, messages.Ping):
            await _send(websocket, {"type": "pong", "time": said.time, "server": console.clock.now()})
        elif answer := _take(console.desk, person, said):
            await _send(websocket, answer)


def _take(desk: Desk, person: Person, said: messages.Message) -> dict[str, Any] | None:
    """Hand a message to the desk; the answer says why it was not taken."""
    reason = ""
    match said:
        case messages.HandMessage(hand):
            reason = desk.hand(person, hand)
            if person.role == "operator":
                return None  # an old heartbeat is not worth an answer; 50 of them come each second
        case messages.ClockMessage(offset, rtt):
            person.clock = ClientClock(offset, rtt)
        case messages.Control(take):
            if take:
                reason = desk.take_control(person)
            else:
                desk.give_control(person)
        case messages.Wish(what):
            reason = desk.wish(person, what)
        case messages.Seen(number, time):
            reason = desk.seen(person, number, time)
        case messages.Disturb(number, time, perturbation):
            reason = desk.act(person, number, perturbation, time)
            if reason:
                return {"type": "result", "number": number, "accepted": False, "reason": reason}
        case messages.Touch(down, kind, target, time):
            reason = desk.touch(person, down, kind, target, time)
        case messages.Halt(words):
            desk.halt(person, words)
        case _:
            pass
    return {"type": "error", "error": reason} if reason else None


async def _write(websocket: WebSocket, console: Console, person: Person) -> None:
    """Send the newest of everything until the page is gone."""
    hello = console.hello() | {"type": "hello", "you": {"id": person.id, "role": person.role}}
    await _send(websocket, hello)
    cameras: list[str] = hello["cameras"]
    shown = dict.fromkeys(cameras, 0)
    due = dict.fromkeys(cameras, 0.0)
    told, next_state, coverage = 0, 0.0, None
    while True:
        now = console.clock.now()
        if now >= next_state:
            next_state = now + 1.0 / STATE_HZ
            notices = [n for n in list(console.desk.notices) if n[0] > told]
            told = max((n[0] for n in notices), default=told)
            state = console.status() | {"type": "state", "notices": notices[-8:]}
            await _send(websocket, state)
            if (newest := console.coverage()) and newest is not coverage:
                coverage = newest
                await _send(websocket, {"type": "coverage"} | newest)
        for result in console.take_results(person.id):
            await _send(websocket, {"type": "result"} | result)
        for index, camera in enumerate(cameras):
            frame = console.film.newest(camera)
            if frame is not None and frame.number > shown[camera] and now >= due[camera]:
                shown[camera], due[camera] = frame.number, now + 1.0 / console.config.pictures_hz
                head = struct.pack("<B7xd", index, frame.captured)
                await asyncio.wait_for(websocket.send_bytes(head + frame.data), SEND_S)
        await asyncio.sleep(0.02)


async def _send(websocket: WebSocket, value: dict[str, Any]) -> None:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), default=str)
    await asyncio.wait_for(websocket.send_text(text), SEND_S)


class _Gauge:
    """How fast a connection talks: a token bucket."""

    def __init__(self, clock: Clock):
        self._clock, self._tokens, self._filled = clock, MESSAGES_AT_ONCE, clock.now()
        self.excess = self.nonsense = 0

    def take(self) -> bool:
        now = self._clock.now()
        self._tokens = min(MESSAGES_AT_ONCE, self._tokens + (now - self._filled) * MESSAGES_PER_S)
        self._filled = now
        if self._tokens < 1.0:
            self.excess += 1
            return False
        self._tokens -= 1.0
        return True
