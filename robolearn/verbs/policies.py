"""Which policy a command line names: a checkpoint, a server, the task's script, a recording."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from robolearn import plugins
from robolearn.ahead import Ahead
from robolearn.clock import Clock
from robolearn.compose import Chunked, Replay
from robolearn.contracts import ChunkModel, Env, Policy
from robolearn.data.store import Store
from robolearn.errors import ArtefactError, EmptyStore
from robolearn.scene.derived import derived_spec, deriving
from robolearn.trained import load_model

__all__ = ["EXPLAINED", "Chosen", "choose_policy"]

EXPLAINED = (
    'a checkpoint, run or exported folder, ws://host:port of "robolearn serve", "expert" (the task\'s script), or '
    '"replay:STORE" or "replay:STORE:EPISODE"'
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy with what identifies it in recordings."""

    policy: Policy
    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Server:
    """What is needed to use a policy server beside its address."""

    token: str = ""
    deadline_s: float = 0.5
    certificate: str = ""


def choose_policy(name: str, env: Env, clock: Clock, stack: contextlib.ExitStack, server: Server) -> Chosen:
    """The policy of a name, for an environment of one row.

    Args:
        name: See `EXPLAINED`.
        env: Where it will act.
        clock: Times the deadlines of a server.
        stack: Keeps connections until it is closed.
        server: Token and deadline.

    Raises:
        ArtefactError: There is no such checkpoint.
        BenchError: The server does not answer.
        CheckpointMismatch: The server's policy is for another bench.
        EmptyStore: There is no such recording.
    """
    if name == "expert":
        return Chosen(plugins.load("expert", env.task.name)().build(env), f"expert of {env.task.name}", "")
    if name.startswith("replay:"):
        return _recording(name)
    if name.startswith(("ws://", "wss://")):
        from robolearn.remote.client import RemoteConfig

        config = RemoteConfig(name, server.token, server.deadline_s, server.certificate)
        remote = stack.enter_context(config.build(clock))
        model = deriving(remote, env.observation_spec)
        derived = derived_spec(env.observation_spec) if model is not remote else {}
        remote.require_fit({**env.observation_spec, **derived}, env.action_spec)
        return Chosen(_played(model, env, clock, stack), remote.name, remote.fingerprint)
    if not Path(name).exists():
        raise ArtefactError(f"There is no policy {name!r}. Possible: {EXPLAINED}.")
    # A small network is fastest on one thread, and the control loop needs the other cores.
    model, fingerprint = load_model(Path(name), threads=1)
    model = deriving(model, env.observation_spec)
    return Chosen(_played(model, env, clock, stack), name, fingerprint)


def _played(model: ChunkModel, env: Env, clock: Clock, stack: contextlib.ExitStack) -> Policy:
    """A model as a policy: one that looks ahead computes the next chunk while this one is played."""
    if model.chunk == 1:
        return Chunked(model, env.n)
    return stack.enter_context(Ahead(model, 1.0 / env.task.rate_hz, clock))


def _recording(name: str) -> Chosen:
    _, where, *rest = name.split(":")
    store = Store.open(Path(where))
    ids = store.ids()
    if not ids:
        raise EmptyStore(f"Expected episodes to replay in {where}; found none. See robolearn data info.")
    id = rest[0] if rest else ids[0]
    return Chosen(Replay([store[id]]), f"replay of {id}", store.info(id).content)
