"""What runs in each worker process of `sim.robosuite_env`: one robosuite environment behind a pipe.

Requests are pairs (verb, value) and replies pairs ("ok", value) or ("error", text); only numpy arrays and plain
values cross. The worker ignores Ctrl-C, which is its parent's business, and ends when the pipe does, however the
parent ended.
"""

from __future__ import annotations

import contextlib
import io
import logging
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from robolearn.errors import MissingDependency, RobolearnError, UnknownName
from robolearn.geometry import xyzw_to_wxyz
from robolearn.specs import Array
from sim.engine import mujoco
from sim.task import DISPLACEMENT_SPEC, canonical

__all__ = ["CAMERAS", "TOOL_REFERENCE", "serve"]

CAMERAS = {"agent": "agentview", "wrist": "robot0_eye_in_hand"}
"""Our names of robosuite's cameras."""
TOOL_REFERENCE = (0.0, 1.0, 0.0, 0.0)
"""Quaternions of the tool get the sign nearest to this one: straight down, x ahead."""

_SCALE = np.asarray(DISPLACEMENT_SPEC["arm.delta"].high)


def serve(pipe: Connection, settings: Mapping[str, Any]) -> None:
    """Build the environment and answer requests until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # robosuite warns at import about files and packages that are optional; this process has nothing else to say.
    logging.disable(logging.WARNING)
    faults = (RobolearnError, ValueError, RuntimeError, AssertionError, mujoco.FatalError)
    try:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                row = _Row(**settings)
                shapes = row.shapes()
        except faults as error:
            pipe.send(("error", f"{type(error).__name__}: {error}"))
            return
        pipe.send(("ok", shapes))
        while True:
            verb, value = pipe.recv()
            try:
                answer = ("ok", getattr(row, verb)(value))
            except faults as error:
                answer = ("error", f"{type(error).__name__}: {error}")
            pipe.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


class _Row:
    """One robosuite environment in our names and frames; the verbs of the pipe are its methods."""

    def __init__(
        self, task: str, robot: str, rate_hz: float, cameras: tuple[tuple[str, int, int], ...], build_seed: int
    ):
        try:
            import robosuite
            from robosuite.controllers import load_composite_controller_config
        except ModuleNotFoundError as error:
            raise MissingDependency("robosuite", "sim", "A robosuite task") from error
        if task not in robosuite.ALL_ENVIRONMENTS:
            raise UnknownName("robosuite task", task, robosuite.ALL_ENVIRONMENTS)
        # OSC_POSE with kp 150, damping ratio 1 and deltas of 0.05 m and 0.5 rad, as the robomimic demonstrations.
        controller = load_composite_controller_config(controller="BASIC", robot=robot)
        self._env: Any = robosuite.make(
            task,
            robots=robot,
            controller_configs=controller,
            control_freq=rate_hz,
            reward_shaping=True,
            use_camera_obs=False,
            has_offscreen_renderer=bool(cameras),
            ignore_done=True,
            # A hard reset recompiles the model (1.2 s, not 6 ms); the sizes of objects stay as `build_seed` drew them.
            hard_reset=False,
            seed=build_seed,
        )
        self._cameras = cameras
        if cameras:
            # Shadows are most of the cost of a picture in software.
            self._env.sim._render_context_offscreen.scn.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._base = np.array(self._env.sim.data.get_body_xpos("robot0_base"))
        self._objects = tuple(
            name[: -len("_pos")]
            for name in self._env.observation_names
            if name.endswith("_pos")
            and name[: -len("_pos")] + "_quat" in self._env.observation_names
            and not name.startswith("robot0")
            and "_to_" not in name
        )

    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and type of every observation."""
        arrays = self.reset(0)["arrays"]
        return {name: (value.shape, str(value.dtype)) for name, value in arrays.items()}

    def reset(self, seed: int) -> dict[str, Any]:
        # The environment, its placement sampler and its robot share one generator; give it the seed in place.
        self._env.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        self._env.reset()
        return self._look()

    def restore(self, state: Array) -> dict[str, Any]:
        """Continue from a recorded flat state, with a fresh controller that holds the arm where it is."""
        model, data = self._env.sim.model, self._env.sim.data
        size = 1 + model.nq + model.nv
        if state.shape != (size,):
            raise ValueError(
                f"A state has {size} numbers (time, qpos and qvel in one row, as robomimic stores them); "
                f"found shape {state.shape}."
            )
        self._env.reset()
        data.time = state[0]
        data.qpos[:] = state[1 : 1 + model.nq]
        data.qvel[:] = state[1 + model.nq :]
        self._env.sim.forward()
        for robot in self._env.robots:
            robot.composite_controller.update_state()
            for part, controller in robot.composite_controller.part_controllers.items():
                if "gripper" not in part:
                    controller.update_initial_joints(data.qpos[robot._ref_joint_pos_indexes])
            robot.composite_controller.reset()
        return self._look()

    def act(self, action: Array) -> dict[str, Any]:
        """One control step from (7,): displacement in SI units and the gripper's command."""
        self._env.step(np.concatenate([action[:6] / _SCALE, action[6:]]))
        # After a step robosuite's positions of bodies are one substep older than its joints; bring them together.
        self._env.sim.forward()
        return self._look()

    def state(self, _: None) -> Array:
        """The flat state, as `restore` takes it."""
        data = self._env.sim.data
        return np.concatenate([[data.time], data.qpos, data.qvel])

    def _look(self) -> dict[str, Any]:
        seen = self._env._get_observations(force_update=True)
        arrays: dict[str, Array] = {
            "arm.q": seen["robot0_joint_pos"],
            "arm.dq": seen["robot0_joint_vel"],
            "tool.position": seen["robot0_eef_pos"] - self._base,
            # The body "right_hand": the frame of the old recordings, and of our native tool.
            "tool.quaternion": canonical(xyzw_to_wxyz(np.asarray(seen["robot0_eef_quat"], np.float64)), TOOL_REFERENCE),
            "gripper.q": seen["robot0_gripper_qpos"],
        }
        for name in self._objects:
            arrays[f"{name}.position"] = seen[f"{name}_pos"] - self._base
            arrays[f"{name}.quaternion"] = canonical(xyzw_to_wxyz(np.asarray(seen[f"{name}_quat"], np.float64)))
        arrays["task.reward"] = np.array([self._env.reward(None)])
        arrays = {name: np.array(value, np.float64) for name, value in arrays.items()}
        for camera, width, height in self._cameras:
            image = self._env.sim.render(camera_name=CAMERAS[camera], width=width, height=height)
            arrays[f"{camera}.rgb"] = np.ascontiguousarray(image[::-1])
        return {
            "time": float(self._env.sim.data.time),
            "arrays": arrays,
            "success": bool(self._env._check_success()),
            "warnings": int(sum(w.number for w in self._env.sim.data._data.warning)),
        }
