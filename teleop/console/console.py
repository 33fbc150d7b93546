"""The console as one object: the desk, the pictures, what the pages are shown, and the server that shows it.

The loop publishes facts and never waits for a page; the server reads the newest of them. Only loopback is served unless
tokens and a certificate are given.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn.clock import Clock
from robolearn.contracts import Adversary, Env, Policy
from robolearn.data.store import Store
from robolearn.errors import BenchError, MissingDependency
from robolearn.serving import Access, Guard, listen
from teleop.console.desk import ROLES, Desk
from teleop.console.film import Film

__all__ = ["Console", "ConsoleConfig"]

MOST_MESSAGE_BYTES = 16 * 1024
"""Largest message of a page; a heartbeat has 300."""
MOST_PEOPLE = 16


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """Where the console is served."""

    port: int = 8770
    """On which port; 0 takes a free one."""
    address: str = "127.0.0.1"
    """On which interface. Any other than loopback needs tokens and a certificate."""
    hosts: tuple[str, ...] = ()
    """Names or addresses under which other machines reach this one."""
    tokens: Path | None = None
    """File of tokens, one per role; made when it is not there. Without it everybody at this machine is trusted."""
    certificate: Path | None = None
    """TLS certificate (PEM). WebXR works only with one, or at this machine."""
    key: Path | None = None
    """Its private key (PEM)."""
    pictures_hz: float = 15.0
    """Most pictures per second and camera that a page is sent."""

    def build(self, clock: Clock) -> Console:
        """The console, not serving yet."""
        return Console(self, clock)


class Console:
    """Build it with `ConsoleConfig`; as a context manager it serves in between.

    Attributes:
        desk: Where people and loop meet.
        film: The pictures.
        url: Where it is served, "" before.
    """

    def __init__(self, config: ConsoleConfig, clock: Clock):
        self.config, self.clock = config, clock
        self.desk, self.film = Desk(clock), Film(clock)
        self.url = ""
        self._lock = threading.Lock()
        self._hello: dict[str, Any] = {"cameras": [], "acts": {}, "commands": [], "task": ""}
        self._status: dict[str, Any] = {"phase": "idle", "mode": "STARTING", "t": clock.now()}
        self._coverage: dict[str, Any] = {}
        self._review: dict[str, Any] | None = None
        self._results: dict[str, list[dict[str, Any]]] = {}
        self._server: Any = None
        self._thread: threading.Thread | None = None

    # -- what the loop says -------------------------------------------------------------------------------------

    def introduce(self, **facts: Any) -> None:
        """What does not change in a session: cameras, acts, commands, task."""
        with self._lock:
            self._hello |= facts

    def publish(self, status: Mapping[str, Any]) -> None:
        """The newest facts of the loop."""
        with self._lock:
            self._status = dict(status)

    def show_coverage(self, coverage: Mapping[str, Any]) -> None:
        """The newest coverage map."""
        with self._lock:
            self._coverage = dict(coverage)

    def show_review(self, review: Mapping[str, Any] | None) -> None:
        """What there is to decide about, None when nothing is."""
        with self._lock:
            self._review = None if review is None else dict(review)

    def answer(self, person: str, result: dict[str, Any]) -> None:
        """Tell one person what became of their act."""
        with self._lock:
            self._results.setdefault(person, []).append(result)

    # -- what the pages get -------------------------------------------------------------------------------------

    def hello(self) -> dict[str, Any]:
        """See `introduce`."""
        with self._lock:
            return dict(self._hello)

    def status(self) -> dict[str, Any]:
        """See `publish`, with what the desk knows by itself."""
        with self._lock:
            status = dict(self._status)
        desk = self.desk
        people = [{"id": p.id, "role": p.role, "rtt_ms": None if p.clock is None else 1e3 * p.clock.rtt_s}
                  for p in desk.people()]  # fmt: skip
        return status | {
            "now": self.clock.now(),
            "holder": desk.holder,
            "halted": desk.halted,
            "people": people,
            "touching": desk.touching,
        }

    def coverage(self) -> dict[str, Any]:
        """See `show_coverage`."""
        with self._lock:
            return self._coverage

    def review(self) -> dict[str, Any] | None:
        """See `show_review`."""
        with self._lock:
            return self._review

    def take_results(self, person: str) -> list[dict[str, Any]]:
        """What became of one person's acts since the last look."""
        with self._lock:
            return self._results.pop(person, [])

    def session(
        self,
        env: Env,
        operator: Policy,
        store: Store,
        *,
        adversary: Adversary | None = None,
        episodes: int = 10,
        seed: int = 0,
        longest_s: float = 120.0,
        operator_name: str = "",
        adversary_name: str = "",
        bench: str = "twin",
        facts: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Record with people until enough is kept; returns the ids (see `live.Live`, `live.LiveOptions`)."""
        from teleop.console.live import Live, LiveOptions

        source = "" if adversary is None else adversary_name
        options = LiveOptions(
            episodes, seed, longest_s, operator_name, adversary_name, bench, dict(facts or {}), source
        )
        return Live(self, env, operator, store, self.clock, adversary, options).run()

    # -- serving ------------------------------------------------------------------------------------------------

    def start(self) -> str:
        """Serve from a thread, and return the address.

        Raises:
            MissingDependency: FastAPI, uvicorn or websockets is not installed.
            BenchError: The port is taken, or others could reach it without a token or in the clear.
        """
        try:
            import uvicorn
            import websockets  # noqa: F401  # uvicorn speaks WebSocket with it

            from teleop.console.server import build_app
        except ModuleNotFoundError as error:
            raise MissingDependency((error.name or "").partition(".")[0], "teleop", "The console") from error
        config = self.config
        if (config.certificate is None) != (config.key is None):
            raise BenchError("TLS needs a certificate and its key; found one of them. Give both files.")
        tls = config.certificate is not None
        access = None if config.tokens is None else Access.from_file(config.tokens, ROLES)
        listener = listen(config.port, config.address, token=access is not None, tls=tls)
        port = int(listener.getsockname()[1])
        app = Guard(build_app(self), port, hosts=config.hosts, access=access, tls=tls, most_bytes=64 * 1024)
        settings: Any = {"ssl_certfile": config.certificate, "ssl_keyfile": config.key} if tls else {}
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,  # pyright: ignore[reportArgumentType]
                log_level="error",
                access_log=False,
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                ws="websockets-sansio",
                ws_max_size=MOST_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                ws_ping_interval=5.0,
                ws_ping_timeout=5.0,
                timeout_graceful_shutdown=1,
                **settings,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="console", daemon=True
        )
        self._thread.start()
        name = config.hosts[0] if config.hosts else "127.0.0.1"
        self.url = f"{'https' if tls else 'http'}://{name}:{port}/"
        return self.url

    def close(self) -> None:
        """Stop serving; safe to call twice."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=5.0)
            self._thread = None
        self.film.close()

    def __enter__(self) -> Console:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
