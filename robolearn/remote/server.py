"""The other side of a remote policy: one model, many robots, no queue.

    server -> "hello"    specs, history, chunk, name and fingerprint of the model, once
    client -> "predict"  number, left_s, rows, arrays (rows, history, ...), noise (rows,)
    server -> "actions"  number, arrays (rows, chunk, ...)
              "busy"     number; the model is working for somebody else: ask again
              "late"     number; it is too late to be of use
              "refused"  number, reason; the request does not fit

A request that finds the model at work is told so at once instead of waiting in a line of unknown length. Nothing
listens beyond this computer without a token, browsers are refused, and nothing a client sends can make code run.
"""

from __future__ import annotations

import hmac
import http
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from robolearn import specs
from robolearn.clock import Clock, MonotonicClock
from robolearn.contracts import ChunkModel
from robolearn.errors import BenchError, MissingDependency
from robolearn.remote.wire import MAX_BYTES, PROTOCOL, WireError, pack, pack_arrays, unpack, unpack_arrays
from robolearn.specs import ArraySpec

__all__ = ["PolicyServer", "ServerConfig"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MOST_ROWS = 1024
_NOISE = {"noise": ArraySpec((), "uint64")}


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where to listen, and who may come."""

    address: str = "127.0.0.1"
    """Address to listen on; anything but this computer's own needs a token."""
    port: int = 8765
    """Port; 0 takes a free one."""
    token: str = ""
    """What clients must know; at least 16 characters."""
    certificate: str = ""
    """File with a TLS certificate and its chain; with `key` the server speaks wss://."""
    key: str = ""
    """File with the certificate's private key."""
    clients: int = 16
    """Most connections at a time."""

    def build(self, model: ChunkModel, *, name: str, fingerprint: str = "", clock: Clock | None = None) -> PolicyServer:
        """The server, not yet listening.

        Raises:
            BenchError: It would listen to strangers without a token, or the token is too short.
        """
        if self.address not in _LOOPBACK and not self.token:
            raise BenchError(
                f"Refusing to serve a policy on {self.address} without a token: anybody on the network could use it. "
                "Give --token-file, or listen on 127.0.0.1 and use an SSH tunnel."
            )
        if self.token and len(self.token) < 16:
            raise BenchError(
                f"A token needs at least 16 characters; found {len(self.token)}. Make one: openssl rand -hex 16"
            )
        return PolicyServer(self, model, name, fingerprint, clock or MonotonicClock())


class PolicyServer:
    """Serves a model while it is entered. Build it with `ServerConfig`.

    Attributes:
        served: Answers given.
        turned_away: Busy answers given.
    """

    def __init__(self, config: ServerConfig, model: ChunkModel, name: str, fingerprint: str, clock: Clock):
        self.config, self._model, self._clock = config, model, clock
        self.served, self.turned_away = 0, 0
        self._hello = pack(
            {
                "kind": "hello",
                "observation_spec": specs.to_json(model.observation_spec),
                "action_spec": specs.to_json(model.action_spec),
                "history": model.history,
                "chunk": model.chunk,
                "name": name,
                "fingerprint": fingerprint,
            }
        )
        self._working, self._counting = threading.Lock(), threading.Lock()
        self._sockets: set[Any] = set()
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.socket.getsockname()[1])

    def __enter__(self) -> Self:
        config, library = self.config, _server_library()
        security: Any = None
        if config.certificate:
            import ssl

            security = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            security.load_cert_chain(config.certificate, config.key or None)
        try:
            self._server = library.serve(
                self._serve,
                config.address,
                config.port,
                subprotocols=[PROTOCOL],
                origins=[None],  # a browser always says where it comes from
                process_request=self._admit,
                compression=None,
                max_size=MAX_BYTES,
                open_timeout=5.0,
                close_timeout=1.0,
                ping_interval=5.0,
                ping_timeout=5.0,
                ssl=security,
            )
        except OSError as error:
            raise BenchError(
                f"Cannot listen on {config.address}:{config.port}: {error}. Is another server running? Give --port."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="policy-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            with self._counting:
                sockets = list(self._sockets)
            for socket in sockets:
                socket.close()
            if self._thread is not None:
                self._thread.join(5.0)

    def _admit(self, connection: Any, request: Any) -> Any:
        """None to go on, or a refusal, before anything else is read."""
        given = str(request.headers.get("Authorization", ""))
        if self.config.token and not hmac.compare_digest(given.encode(), f"Bearer {self.config.token}".encode()):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "Wrong or missing token.\n")
        if len(self._sockets) >= self.config.clients:
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "Too many clients.\n")
        return None

    def _serve(self, socket: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        with self._counting:
            self._sockets.add(socket)
        try:
            socket.send(self._hello)
            for data in socket:
                socket.send(self._answer(data))
        except ConnectionClosed:
            pass
        finally:
            with self._counting:
                self._sockets.discard(socket)

    def _answer(self, data: object) -> bytes:
        came = self._clock.now()
        number: object = None
        try:
            request = unpack(data)
            number = request.get("number")
            observations, noise, left_s = self._parts(request)
        except WireError as error:
            return pack(
                {"kind": "refused", "number": number if isinstance(number, int) else None, "reason": str(error)}
            )
        if not self._working.acquire(blocking=False):
            with self._counting:
                self.turned_away += 1
            return pack({"kind": "busy", "number": number})
        try:
            actions = self._model.predict(observations, noise)
        finally:
            self._working.release()
        if self._clock.now() - came > left_s:
            return pack({"kind": "late", "number": number})
        with self._counting:
            self.served += 1
        return pack({"kind": "actions", "number": number, "arrays": pack_arrays(actions)})

    def _parts(self, request: dict[str, Any]) -> tuple[dict[str, Any], Any, float]:
        if request["kind"] != "predict":
            raise WireError(f"Unknown kind of request {request['kind'][:40]!r}; expected 'predict'.")
        left_s = request.get("left_s")
        if not isinstance(left_s, float) or not np.isfinite(left_s):
            raise WireError(f"left_s must be a number of seconds; found {left_s!r}.")
        if not isinstance(request.get("number"), int):
            raise WireError("A request needs a whole number under 'number'.")
        rows = request.get("rows")
        if not isinstance(rows, int) or not 1 <= rows <= _MOST_ROWS:
            raise WireError(f"rows must be a whole number from 1 to {_MOST_ROWS}; found {rows!r}.")
        lead = (rows, self._model.history)
        arrays = unpack_arrays(request.get("arrays"), self._model.observation_spec, lead, "observations")
        return arrays, unpack_arrays(request.get("noise"), _NOISE, (rows,), "noise")["noise"], left_s


def _server_library() -> Any:
    try:
        from websockets.sync import server
    except ImportError as error:
        raise MissingDependency("websockets", "remote", "Serving a policy") from error
    return server
