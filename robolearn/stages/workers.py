"""Many rollout workers: the one loop in several processes, on this machine or on others, by Ray.

A worker builds its own environment and its own copy of the policy from plain descriptions, so nothing but text, seeds
and results travels. Episodes depend on their seeds alone: who played them, and in which row, changes nothing (up to the
last bits of the network's matrix products, whose order depends on how many rows decide at a time).

Ray is optional (`pip install -e ".[scale]"`); without workers, everything runs in this process. On a cluster, start
Ray there (`ray start --head`, `ray start --address=...`) and set RAY_ADDRESS; here it starts one for itself.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from robolearn import plugins
from robolearn.compose import Chunked
from robolearn.contracts import Env
from robolearn.data.store import Store
from robolearn.errors import MissingDependency, SpecError
from robolearn.learn.actors import weights_key
from robolearn.learn.chain_policy import load_chain
from robolearn.recorder import Recorder
from robolearn.rollout import EpisodeSummary, rollout

__all__ = ["Collecting", "Workers", "collector"]


@dataclass(frozen=True)
class Collecting:
    """Who collects where, as plain values that can travel.

    Attributes:
        env: Dict form of the environment's config.
        checkpoint: Folder of the policy, on a path every worker can read.
        explore: With the chain's noise, or as deployed.
        sigma_min: Floor of that noise.
        sigma_max: Its ceiling.
    """

    env: Mapping[str, Any]
    checkpoint: str
    explore: bool = True
    sigma_min: float = 0.05
    sigma_max: float = 0.1

    def model(self) -> Any:
        """The policy as a `ChunkModel`."""
        return collector(
            Path(self.checkpoint), explore=self.explore, sigma_min=self.sigma_min, sigma_max=self.sigma_max
        )


class Workers:
    """Processes that play episodes; a context manager.

    Args:
        job: What they play.
        count: How many.

    Raises:
        MissingDependency: Ray is not installed.
        SpecError: Fewer than one worker.
    """

    def __init__(self, job: Collecting, count: int):
        if count < 1:
            raise SpecError(f"Expected at least one worker; found {count}.")
        try:
            self._ray: Any = importlib.import_module("ray")
        except ModuleNotFoundError as error:
            raise MissingDependency("ray", "scale", "Rollout workers in other processes") from error
        self._job, self._count = job, count
        self._actors: list[Any] = []
        self._ours = False

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            cluster = os.environ.get("RAY_ADDRESS")
            here: dict[str, Any] = {"include_dashboard": False, "num_cpus": self._count, "log_to_driver": False}
            self._ray.init(address=cluster) if cluster else self._ray.init(**here)
            self._ours = True
        remote = self._ray.remote(num_cpus=1)(_Worker)
        self._actors = [remote.remote(self._job) for _ in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()
        if self._ours:
            self._ray.shutdown()

    def play(self, seeds: Sequence[int]) -> list[EpisodeSummary]:
        """Play these starts; summaries in the order of the seeds."""
        parts = self._parts(seeds)
        done = self._ray.get([actor.play.remote(part) for actor, part in zip(self._actors, parts, strict=True)])
        return _ordered(seeds, parts, done)

    def record(self, folder: Path, seeds: Sequence[int]) -> list[Path]:
        """Record these starts, every worker into a store of its own below `folder`; returns the stores."""
        parts = self._parts(seeds)
        stores = [folder / f"worker_{k}" for k in range(self._count)]
        jobs = zip(self._actors, stores, parts, strict=True)
        self._ray.get([actor.record.remote(str(store), part) for actor, store, part in jobs])
        return [store for store, part in zip(stores, parts, strict=True) if part]

    def _parts(self, seeds: Sequence[int]) -> list[list[int]]:
        return [list(seeds[k :: self._count]) for k in range(self._count)]


class _Worker:
    """What runs in a process."""

    def __init__(self, job: Collecting):
        torch.set_num_threads(1)
        self._env: Env = plugins.from_dict("env", dict(job.env)).build()
        self._model = job.model()

    def play(self, seeds: list[int]) -> list[EpisodeSummary]:
        return rollout(self._env, Chunked(self._model, self._env.n), seeds=seeds)

    def record(self, store: str, seeds: list[int]) -> None:
        with Store.open_or_create(store, durable=False) as opened:
            record(opened, self._env, self._model, seeds)


def record(store: Store, env: Env, model: Any, seeds: Sequence[int], observers: Sequence[Any] = ()) -> None:
    """Record one episode per seed of a policy, whatever its outcome."""
    recorder = Recorder(store, operator="policy", bench="simulation", extra={"checkpoint": weights_key(model)})
    with recorder:
        rollout(env, Chunked(model, env.n), seeds=seeds, observers=[recorder, *observers])


def collector(path: Path, *, explore: bool, sigma_min: float, sigma_max: float) -> Any:
    """The policy of a checkpoint as a `ChunkModel` that collects."""
    model, described = load_chain(path, sigma_min=sigma_min, sigma_max=sigma_max)
    if not explore:
        return model
    config = plugins.from_dict("policy", dict(described) | {"explore": True})
    exploring = config.build(model.observation_spec, model.action_spec, model.statistics)
    exploring.load_state_dict(model.state_dict())
    return exploring.eval()


def _ordered(
    seeds: Sequence[int], parts: Sequence[Sequence[int]], done: Sequence[Sequence[EpisodeSummary]]
) -> list[EpisodeSummary]:
    found: dict[int, list[EpisodeSummary]] = {}
    for part, summaries in zip(parts, done, strict=True):
        for seed, summary in zip(part, summaries, strict=True):
            found.setdefault(seed, []).append(summary)
    return [found[seed].pop(0) for seed in seeds]
