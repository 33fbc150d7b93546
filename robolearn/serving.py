"""What every page of ours is served behind: a listener, and a guard in front of the application.

Loopback alone protects nothing, for any page that a person visits may talk to 127.0.0.1 and no browser applies the
same-origin rule to WebSockets. So the guard checks the Host of every request (a name that somebody points at us is not
ours) and the Origin of every WebSocket and every change, before the application sees any of it; bounds what is sent to
us; and adds the headers that keep other pages out. With an `Access` nothing but files is answered without a token: it
is posted once to /api/login, and a cookie that no script can read stands for it afterwards; programs may send it as
"Authorization: Bearer". Any other address than loopback needs both a token and TLS, or `listen` refuses.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from robolearn.errors import BenchError

__all__ = ["Access", "App", "Guard", "is_loopback", "listen"]

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "robolearn_session"
SHORTEST_TOKEN = 22
"""Characters; 128 bits in base 64."""
MOST_SESSIONS = 64
_LOGIN = "/api/login"


class Access:
    """Tokens, each with what its bearer is, and the sessions they opened.

    Args:
        tokens: Role to token.

    Raises:
        BenchError: A token is too short to be one, or two are equal.
    """

    def __init__(self, tokens: Mapping[str, str]):
        for role, token in tokens.items():
            if len(token) < SHORTEST_TOKEN:
                raise BenchError(
                    f"The token of the {role} has {len(token)} characters; at least {SHORTEST_TOKEN} random ones are "
                    "needed. Let the file be made: give a path where there is none."
                )
        if len(set(tokens.values())) != len(tokens):
            raise BenchError("Every role needs a token of its own; two are equal.")
        self._tokens = {role: token.encode() for role, token in tokens.items()}
        self._sessions: dict[str, str] = {}

    @classmethod
    def from_file(cls, path: Path, roles: Collection[str]) -> Access:
        """Tokens of a JSON file of role to token; made with fresh ones, for its owner alone, when it is not there.

        Raises:
            BenchError: Others may read it, or it is not such a file.
        """
        if not path.exists():
            text = json.dumps({role: secrets.token_urlsafe(24) for role in roles}, indent=2)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text + "\n")
        if path.stat().st_mode & 0o077:
            raise BenchError(f"Others may read the tokens in {path}; run: chmod 600 {path}")
        try:
            found: Any = json.loads(path.read_text())
            if not isinstance(found, dict) or set(map(str, found)) != set(roles):  # pyright: ignore[reportUnknownArgumentType]
                raise ValueError(f"expected one token each for {', '.join(roles)}")
        except ValueError as error:
            raise BenchError(f"{path} is no file of tokens ({error}). Delete it to have a new one made.") from error
        return cls({str(k): str(v) for k, v in found.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

    def role_of_token(self, token: str) -> str:
        """Whose token this is, "" for nobody's; takes equally long for every wrong one."""
        given, found = token.encode(), ""
        for role, own in self._tokens.items():
            if hmac.compare_digest(own, given):
                found = role
        return found

    def open_session(self, role: str) -> str:
        """A new session of a role; the oldest of too many ends."""
        while len(self._sessions) >= MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        session = secrets.token_urlsafe(32)
        self._sessions[session] = role
        return session

    def role(self, headers: Mapping[str, str]) -> str:
        """The role that a request's headers prove, "" for none."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.role_of_token(token)
        for part in headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE and value in self._sessions:
                return self._sessions[value]
        return ""


class Guard:
    """An ASGI application around another.

    Whose request it is stands in the scope's "role" for the application: a role, or "" where nothing needs one.

    Args:
        app: What is guarded.
        port: Where it listens.
        hosts: Names beside loopback's under which it is reached.
        access: Tokens; None where loopback is trusted.
        tls: Whether it is reached through TLS.
        most_bytes: Largest body of a request.
    """

    def __init__(
        self,
        app: App,
        port: int,
        *,
        hosts: Collection[str] = (),
        access: Access | None = None,
        tls: bool = False,
        most_bytes: int = 1 << 20,
    ):
        self._app, self._access, self._tls, self._most_bytes = app, access, tls, most_bytes
        self._hosts = {f"{name}:{port}" for name in (*LOOPBACK, *hosts)}
        if port == (443 if tls else 80):
            self._hosts |= {*LOOPBACK, *hosts}
        self._origins = {f"{'https' if tls else 'http'}://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        scope["role"] = "" if self._access is None else self._access.role(headers)
        if scope["type"] == "websocket":
            if self._socket_refusal(scope, headers):
                # Closing before accepting is answered by 403: there is no upgrade.
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        status, reason = self._refusal(scope, headers)
        if reason:
            await _say(answer, status, {"error": reason})
            return
        taken = 0

        async def bounded() -> Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most_bytes:
                # Whoever reads sees a client that went away; the connection is not worth more words.
                return {"type": "http.disconnect"}
            return message

        if self._access is not None and scope["path"] == _LOGIN and scope["method"] == "POST":
            await self._login(self._access, bounded, answer)
            return
        await self._app(scope, bounded, answer)

    def _host_refusal(self, headers: Mapping[str, str]) -> str:
        if (host := headers.get("host", "")) not in self._hosts:
            return f"This page answers only for {', '.join(sorted(self._hosts))}; the request was for {host!r}."
        return ""

    def _socket_refusal(self, scope: Scope, headers: Mapping[str, str]) -> str:
        if reason := self._host_refusal(headers):
            return reason
        if self._access is not None and not scope["role"]:
            return "A token is needed."
        origin = headers.get("origin")
        if origin is None and self._access is not None and "authorization" in headers:
            return ""  # a program with a token; no browser leaves the origin out
        return "" if origin in self._origins else f"This page takes nothing from {origin!r}."

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str]:
        method = scope["method"]
        if reason := self._host_refusal(headers):
            return 403, reason
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._most_bytes:
            return 413, f"At most {self._most_bytes} bytes are taken; found {length[:20]}."
        closed = self._access is not None and scope["path"].startswith("/api/") and scope["path"] != _LOGIN
        if closed and not scope["role"]:
            return 401, "A token is needed: open the page and give it."
        if method in ("GET", "HEAD"):
            return 0, ""
        if method != "POST":
            return 403, f"Only GET, HEAD and POST are possible; found {method}."
        origin = headers.get("origin")
        program = origin is None and self._access is not None and "authorization" in headers
        if origin not in self._origins and not program:
            return 403, f"Changes are taken only from this page itself; this one came from {origin!r}."
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            return 403, "A change must be JSON (Content-Type: application/json)."
        return 0, ""

    async def _login(self, access: Access, receive: Any, answer: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        try:
            wish: Any = json.loads(body)
            token = str(wish["token"])
        except (ValueError, KeyError, TypeError, RecursionError):
            await _say(answer, 400, {"error": 'Expected {"token": "..."}.'})
            return
        role = access.role_of_token(token)
        if not role:
            await _say(answer, 401, {"error": "This token is nobody's."})
            return
        cookie = f"{COOKIE}={access.open_session(role)}; Path=/; HttpOnly; SameSite=Strict" + "; Secure" * self._tls
        await _say(answer, 200, {"role": role}, [(b"set-cookie", cookie.encode())])


async def _say(send: Any, status: int, value: Any, headers: Collection[tuple[bytes, bytes]] = ()) -> None:
    kind = [(b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": kind})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def listen(port: int, address: str = "127.0.0.1", *, token: bool = False, tls: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Args:
        port: Where.
        address: On which interface; any other than loopback needs both of the following.
        token: Whether a token is asked of everybody.
        tls: Whether the connection is encrypted.

    Raises:
        BenchError: The port is taken, or others could reach us without a token or in the clear.
    """
    if not is_loopback(address) and not (token and tls):
        lacking = " and ".join(
            name for name, there in (("a token file", token), ("a TLS certificate", tls)) if not there
        )
        raise BenchError(
            f"Refusing to listen on {address} without {lacking}: others could move the robot. Give both, or stay on "
            "127.0.0.1 and use a tunnel (ssh -L)."
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise BenchError(
            f"Cannot listen on {address}:{port} ({error.strerror}). Another program uses it; choose another --port, "
            "or 0 for any free one."
        ) from error
    listener.listen(64)
    return listener
