"""`robolearn serve <policy>`: answer robots from this computer, over WebSocket and msgpack."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from robolearn.cli import parse, say
from robolearn.clock import MonotonicClock
from robolearn.contracts import ChunkModel
from robolearn.remote.server import ServerConfig
from robolearn.specs import zeros
from robolearn.trained import load_model


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Serve a policy until Ctrl-C. A robot uses it with: robolearn deploy ws://HOST:PORT --bench FILE."""

    policy: tyro.conf.Positional[Path]
    """Folder of a checkpoint, of a training run, or of an exported policy."""
    address: str = "127.0.0.1"
    """Address to listen on; anything but this computer's own needs a token."""
    port: int = 8765
    """Port."""
    token_file: Path | None = None
    """File with the token that robots must know, one line of at least 16 characters."""
    certificate: str = ""
    """File with a TLS certificate; with --key the server speaks wss://."""
    key: str = ""
    """File with its private key."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    chosen: Arguments = parse(Arguments, arguments, prog="robolearn serve")
    token = chosen.token_file.read_text().strip() if chosen.token_file else ""
    config = ServerConfig(chosen.address, chosen.port, token, chosen.certificate, chosen.key)
    model, fingerprint = load_model(chosen.policy, threads=1)
    with config.build(model, name=str(chosen.policy), fingerprint=fingerprint) as server:
        kind = "wss" if chosen.certificate else "ws"
        say(
            f"{chosen.policy} answers at {kind}://{chosen.address}:{server.port}, "
            f"{'with' if token else 'without'} a token, in {warm_up(model):.1f} ms. Ctrl-C ends it."
        )
        threading.Event().wait()
    return 0


def warm_up(model: ChunkModel) -> float:
    """Ask a model a few times, so that no robot meets its first, slow answer; median time in ms."""
    clock = MonotonicClock()
    observations = zeros(model.observation_spec, (1, model.history))
    took: list[float] = []
    for _ in range(5):
        start = clock.now()
        model.predict(observations, np.zeros(1, np.uint64))
        took.append(1e3 * (clock.now() - start))
    return float(np.median(took))
