"""The robot's side of a remote policy: a `ChunkModel` whose answers come over a WebSocket.

It imports no torch. Histories and chunks are kept here, by `compose.Chunked`; a request carries everything that its
answer depends on, so the server keeps no state of ours, an answer can be asked for again, and a remote model gives the
same bits as the same model in this process. When no answer comes within the deadline it raises `PolicyLost`; whoever
runs the loop then stops the arm, which stays stopped until a person starts again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from robolearn import specs
from robolearn.clock import Clock, MonotonicClock
from robolearn.errors import BenchError, CheckpointMismatch, MissingDependency, RobolearnError
from robolearn.remote.wire import MAX_BYTES, PROTOCOL, WireError, pack, pack_arrays, unpack, unpack_arrays
from robolearn.specs import Array, Arrays, Spec, first_difference

__all__ = ["PolicyLost", "RemoteConfig", "RemoteModel"]

_BUSY_PAUSE_S = 0.002
_SETUP_S = 10.0


class PolicyLost(RobolearnError):
    """The policy server did not answer in time."""


@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """Where a policy server is."""

    address: str = "ws://127.0.0.1:8765"
    """ws://host:port, or wss:// with TLS."""
    token: str = ""
    """What the server asks for; read it from a file or the environment, not from a shared command line."""
    deadline_s: float = 0.5
    """How long an answer may take before the arm has to hold."""
    certificate: str = ""
    """For wss://, the file of the server's own certificate; "" trusts the system's authorities."""

    def build(self, clock: Clock | None = None) -> RemoteModel:
        """The model, connected. Raises `BenchError` when the server does not answer or refuses."""
        return RemoteModel(self, clock or MonotonicClock())


class RemoteModel:
    """A `ChunkModel` on another computer. Build it with `RemoteConfig`; use it from one thread."""

    def __init__(self, config: RemoteConfig, clock: Clock):
        if not (np.isfinite(config.deadline_s) and 0 < config.deadline_s <= 10):
            raise BenchError(f"deadline_s must lie in (0, 10] seconds; found {config.deadline_s}.")
        self.config, self._clock = config, clock
        self.busy = 0
        """How often the server was busy with somebody else."""
        self._number = 0
        self._socket = self._connect()
        try:
            hello = self._receive(_SETUP_S)
        except TimeoutError as error:
            self._socket.close()
            raise BenchError(
                f"Something listens at {config.address} but says no hello within {_SETUP_S:g} s."
            ) from error
        if hello["kind"] != "hello":
            raise BenchError(f"The server at {config.address} said {hello['kind']!r}; expected 'hello'.")
        try:
            self._observation_spec = specs.from_json(hello["observation_spec"])
            self._action_spec = specs.from_json(hello["action_spec"])
            self._history, self._chunk = int(hello["history"]), int(hello["chunk"])
            self.name, self.fingerprint = str(hello["name"]), str(hello["fingerprint"])
        except (KeyError, TypeError, ValueError) as error:
            raise BenchError(f"The server at {config.address} introduced itself wrongly: {error!r}.") from error

    @property
    def observation_spec(self) -> Spec:
        return self._observation_spec

    @property
    def action_spec(self) -> Spec:
        return self._action_spec

    @property
    def history(self) -> int:
        return self._history

    @property
    def chunk(self) -> int:
        return self._chunk

    def require_fit(self, observation_spec: Spec, action_spec: Spec) -> None:
        """Compare the server's specs with a bench's, before anything moves.

        Raises:
            CheckpointMismatch: They differ; the message names the first difference.
        """
        offered = {name: spec for name, spec in observation_spec.items() if name in self._observation_spec}
        for what, difference in (
            ("observations", first_difference(self._observation_spec, offered, limits=False)),
            ("actions", first_difference(self._action_spec, action_spec)),
        ):
            if difference:
                raise CheckpointMismatch(
                    f"The policy {self.name!r} served at {self.config.address} does not fit this bench: of its {what}, "
                    f"{difference}. Serve the policy that was trained for this bench."
                )

    def predict(self, observations: Arrays, noise: Array) -> Arrays:
        """Actions (rows, chunk, ...); see `ChunkModel`.

        Raises:
            PolicyLost: No answer within the deadline, or the connection is gone.
            WireError: The server refused the request, or answered something that does not fit.
        """
        deadline = self._clock.now() + self.config.deadline_s
        rows = len(noise)
        request = {
            "kind": "predict",
            "rows": rows,
            "arrays": pack_arrays(observations),
            "noise": pack_arrays({"noise": noise}),
        }
        refusals = 0
        while True:
            self._number += 1
            left = deadline - self._clock.now()
            if left <= 0:
                raise self._crowded(refusals)
            self._send(pack(request | {"number": self._number, "left_s": left}))
            try:
                answer = self._answer(deadline)
            except TimeoutError as error:
                # The last of many asks goes out just before the deadline: what kept us waiting is the others.
                raise (self._crowded(refusals) if refusals else self._lost("did not answer")) from error
            if answer["kind"] == "busy":
                refusals += 1
                self.busy += 1
                self._clock.sleep_until(min(deadline, self._clock.now() + _BUSY_PAUSE_S))
                continue
            if answer["kind"] == "late":
                raise self._lost("could not answer in time")
            if answer["kind"] != "actions":
                raise WireError(f"The policy server refused a request: {answer.get('reason', answer['kind'])}")
            return unpack_arrays(answer.get("arrays"), self._action_spec, (rows, self._chunk), "answer")

    def close(self) -> None:
        """Hang up; safe to call twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, deadline: float) -> dict[str, Any]:
        """The answer to the newest request; answers to older ones, which came too late, are dropped.

        Raises:
            TimeoutError: None came before the deadline.
        """
        while True:
            message = self._receive(deadline - self._clock.now())
            if message.get("number") == self._number or message["kind"] == "refused":
                return message

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        if timeout_s <= 0:
            raise TimeoutError
        try:
            return unpack(self._socket.recv(timeout=timeout_s))
        except TimeoutError:
            raise  # an OSError too, but not one that says that the connection is gone
        except (_closed(), OSError) as error:
            raise self._lost("hung up") from error

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except (_closed(), OSError) as error:
            raise self._lost("hung up") from error

    def _crowded(self, refusals: int) -> PolicyLost:
        return PolicyLost(
            f"The policy server at {self.config.address} was busy with others for {self.config.deadline_s:g} s: it "
            f"said so {refusals} times. The arm holds. Serve fewer robots from it, or allow a longer deadline_s."
        )

    def _lost(self, what: str) -> PolicyLost:
        return PolicyLost(
            f"The policy server at {self.config.address} {what} within {self.config.deadline_s:g} s. The arm holds and "
            "does not move again by itself. Look at the server and the network, then start again."
        )

    def _connect(self) -> Any:
        config = self.config
        library = _client_library()
        security: Any = None
        if config.address.startswith("wss:"):
            import ssl

            security = ssl.create_default_context(cafile=str(Path(config.certificate)) if config.certificate else None)
        try:
            return library.connect(
                config.address,
                subprotocols=[PROTOCOL],
                additional_headers={"Authorization": f"Bearer {config.token}"} if config.token else None,
                compression=None,
                max_size=MAX_BYTES,
                open_timeout=_SETUP_S,
                close_timeout=1.0,
                ssl=security,
                proxy=None,
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise BenchError(
                f"No policy server answers at {config.address} ({error}). Start one with: robolearn serve <policy>"
            ) from error
        except _refused() as error:
            raise BenchError(f"The policy server at {config.address} refused us: {error}. Check the token.") from error


def _client_library() -> Any:
    try:
        from websockets.sync import client
    except ImportError as error:
        raise MissingDependency("websockets", "remote", "A remote policy") from error
    return client


def _closed() -> type[Exception]:
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed


def _refused() -> type[Exception]:
    from websockets.exceptions import WebSocketException

    return WebSocketException
