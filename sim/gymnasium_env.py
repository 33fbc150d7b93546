"""Our tasks for other people's algorithms: every simulated task under its Gymnasium name.

    import sim.gymnasium_env                                    # registers the names; or in one line:
    gymnasium.make("sim.gymnasium_env:robolearn/Lift-v0")

Observations are one flat `Dict` of boxes, or one `Box` with `flat=True`; an action is one `Box`, the arrays of the
action spec joined in their order. `make_vec` gives all rows of one batch, not copies of a single environment.
Gymnasium dropped loading plugins through entry points in 1.4, so somebody has to import this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robolearn import plugins
from robolearn.episode import Outcome
from robolearn.specs import Array, Arrays, Spec, bounds
from sim.env import BatchEnv

__all__ = ["BatchVectorEnv", "SingleEnv", "action_space", "observation_space", "register_tasks"]

REWARD = "task.reward"
DONE = (Outcome.SUCCESS, Outcome.FAILURE)


def observation_space(spec: Spec, flat: bool = False) -> spaces.Dict | spaces.Box:
    """The space of what a spec describes, without the reward; `flat` joins all numbers (no pictures) in one box."""
    parts = {}
    for name, array in spec.items():
        if name == REWARD:
            continue
        low, high = bounds(array)
        if array.is_image:
            low, high = np.zeros(array.shape), np.full(array.shape, 255)
        parts[name] = spaces.Box(low.astype(array.dtype), high.astype(array.dtype), array.shape, np.dtype(array.dtype))
    if not flat:
        return spaces.Dict(parts)
    low, high = (np.concatenate([getattr(box, side).ravel() for box in parts.values()]) for side in ("low", "high"))
    return spaces.Box(low, high, dtype=np.float64)


def action_space(spec: Spec) -> spaces.Box:
    """One box of all arrays of an action spec, joined in their order."""
    limits = [bounds(array) for array in spec.values()]
    low, high = (np.concatenate([pair[side].ravel() for pair in limits]) for side in (0, 1))
    return spaces.Box(low, high, dtype=np.float64)


class BatchVectorEnv(VectorEnv[Any, Any, Any]):
    """n rows of one batch; a finished row is reset by its next step, as Gymnasium's `NEXT_STEP` mode says.

    Args:
        task: Name of the environment plugin, such as "lift".
        num_envs: Rows.
        flat: One box in place of a dict.
        max_episode_steps: Horizon; the task's own by default.
        config: Further fields of the task's config, such as `robot` or `cameras`.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        flat: bool = False,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **config: Any,
    ):
        if max_episode_steps is not None:
            config["horizon"] = max_episode_steps
        self.batch: BatchEnv = plugins.load("env", task)(n=num_envs, **config).build()
        self.num_envs, self.render_mode, self._flat = num_envs, render_mode, flat
        self.metadata = self.metadata | {"render_fps": round(self.batch.task.rate_hz)}
        self.single_observation_space = observation_space(self.batch.observation_spec, flat)
        self.single_action_space = action_space(self.batch.action_spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._done = np.zeros(num_envs, bool)
        self._picture: tuple[int, int] = (480, 360)

    def reset(self, *, seed: Any = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed if seed is None or isinstance(seed, int) else None)
        rows = range(self.num_envs)
        if seed is None or isinstance(seed, int):
            seeds = self._seeds(self.num_envs) if seed is None else [seed + row for row in rows]
        else:
            seeds = [self._seeds(1)[0] if one is None else int(one) for one in seed]
        self.batch.reset(seeds, rows)
        self._done[:] = False
        observation, _ = self._observe()
        return observation, {}

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        restart = [int(row) for row in np.flatnonzero(self._done)]
        self.batch.act(self._split(np.asarray(actions, np.float64).reshape(self.num_envs, -1)))
        self.batch.reset(self._seeds(len(restart)), restart)
        observation, reward = self._observe()
        outcomes = self.batch.outcomes()
        terminated, truncated = np.isin(outcomes, DONE), outcomes == Outcome.TIMEOUT
        reward[restart] = 0.0
        self._done = terminated | truncated
        success = outcomes == Outcome.SUCCESS
        return observation, reward, terminated, truncated, {"is_success": success, "_is_success": self._done.copy()}

    def render(self) -> Any:
        """Pictures (height, width, 3) uint8 of the "agent" camera, one for every row."""
        return None if self.render_mode != "rgb_array" else tuple(self.batch.picture("agent", *self._picture))

    def close_extras(self, **kwargs: Any) -> None:
        self.batch.close()

    def _seeds(self, count: int) -> list[int]:
        return [int(seed) for seed in self.np_random.integers(0, 2**31, count)]

    def _split(self, actions: Array) -> Arrays:
        parts, start = {}, 0
        for name, spec in self.batch.action_spec.items():
            size = int(np.prod(spec.shape))
            parts[name] = np.ascontiguousarray(actions[:, start : start + size]).reshape(-1, *spec.shape)
            start += size
        return parts

    def _observe(self) -> tuple[Any, Array]:
        arrays = dict(self.batch.observe().arrays)
        reward = arrays.pop(REWARD)[:, 0]
        if not self._flat:
            return arrays, reward
        return np.concatenate([value.reshape(self.num_envs, -1) for value in arrays.values()], axis=1), reward


class SingleEnv(gymnasium.Env[Any, Any]):
    """One row; a view of a batch of one. Arguments as for `BatchVectorEnv`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, task: str, flat: bool = False, render_mode: str | None = None, **config: Any):
        self._rows = BatchVectorEnv(task, 1, flat, render_mode, **config)
        self.render_mode, self.metadata = render_mode, self._rows.metadata
        self.observation_space, self.action_space = self._rows.single_observation_space, self._rows.single_action_space

    @property
    def batch(self) -> BatchEnv:
        return self._rows.batch

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        start = int(self.np_random.integers(0, 2**31)) if seed is None else seed
        observation, _ = self._rows.reset(seed=[start])
        return self._only(observation), {}

    def step(self, action: Array) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._rows._done[:] = False
        observation, reward, terminated, truncated, info = self._rows.step(np.asarray(action)[None])
        return (
            self._only(observation),
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {"is_success": bool(info["is_success"][0])},
        )

    def render(self) -> Any:
        pictures = self._rows.render()
        return None if pictures is None else pictures[0]

    def close(self) -> None:
        self._rows.close()

    def _only(self, observation: Any) -> Any:
        if isinstance(observation, dict):
            return {name: value[0] for name, value in observation.items()}
        return observation[0]


def register_tasks() -> list[str]:
    """Register every simulated task that is installed and return the names; doing it twice changes nothing."""
    registered = []
    for point in entry_points(group="robolearn.env"):
        if not point.module.startswith("sim.tasks."):
            continue
        title = "".join(word.capitalize() for word in re.split("[_-]", point.name))
        name = f"robolearn/{title}-v0"
        registered.append(name)
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point="sim.gymnasium_env:SingleEnv",
                vector_entry_point="sim.gymnasium_env:BatchVectorEnv",
                disable_env_checker=False,
                kwargs={"task": point.name},
            )
    return sorted(registered)


# Gymnasium imports a module named in an environment's name and expects it to register itself.
register_tasks()
