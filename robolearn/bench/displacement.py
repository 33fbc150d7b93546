"""A bench that takes displacements of the tool, as the simulated tasks do, and commands joints.

Each step is the same damped least-squares step that the simulation makes (`task_space`), from the newest measured
joints and tool and the arm's own `Chain`; the joint targets then pass the gate like any others. What is reported as
sent is the displacement that the joint targets really sent will cause, so recordings stay true to the motion.

A displacement counts from where the arm is when it begins to act. In a simulation that is where it was measured; on a
bench the arm has moved on by its speed times the age of the measurement (the policy's thinking, and half a period of
the robot), and a displacement from the old place would slow a moving arm down by as much. Benches that do not measure
"arm.dq" count from the measurement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robolearn.arm.frames import displacement
from robolearn.arm.kinematics import Chain, Posture
from robolearn.arm.task_space import DISPLACEMENT_SPEC, TaskSpaceControl
from robolearn.bench.env import BenchEnv
from robolearn.compose import Wrapped
from robolearn.episode import Event, Reading
from robolearn.errors import BenchError
from robolearn.specs import Array, Arrays, ArraySpec, Spec, bounds

__all__ = ["DisplacementEnv"]

_NEEDED = ("arm.q", "tool.position")
_SETTLED = 5
"""After so many decisions of no displacement the arm stays at its target instead of where it is measured."""


class DisplacementEnv(Wrapped):
    """An `Env` of n = 1 with the action "arm.delta" in place of "arm.q_target".

    Args:
        env: The bench; it must measure joints and tool and be commanded by joint targets.
        chain: The arm's geometry.
        control: Gains and limits of the step.

    Raises:
        BenchError: The bench lacks an array, or the chain has another number of joints.
    """

    def __init__(self, env: BenchEnv, chain: Chain, control: TaskSpaceControl):
        joints = env.action_spec.get("arm.q_target", ArraySpec((0,))).shape[0]
        if joints != len(chain.axes):
            raise BenchError(
                f"Displacements need a robot commanded by {len(chain.axes)} joints in 'arm.q_target'; found {joints} "
                f"(actions: {sorted(env.action_spec)})."
            )
        if missing := [name for name in _NEEDED if name not in env.observation_spec]:
            raise BenchError(
                f"Displacements need the measurements {missing}; there is: {sorted(env.observation_spec)}."
            )
        super().__init__(env)
        self._env, self._chain, self._control = env, chain, control
        others = {name: spec for name, spec in env.action_spec.items() if name != "arm.q_target"}
        self._action_spec: dict[str, ArraySpec] = {"arm.delta": DISPLACEMENT_SPEC["arm.delta"], **others}
        self._limits = bounds(self._action_spec["arm.delta"])
        self._seen: Arrays = {}
        self._previous: Array | None = None
        self._still = 0

    @property
    def action_spec(self) -> Spec:
        return self._action_spec

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> None:
        self._env.reset(seeds, rows)
        self._previous, self._still = None, 0

    def observe(self) -> Reading:
        reading = self._env.observe()
        self._seen = reading.arrays
        return reading

    def act(self, action: Arrays) -> Arrays:
        q, tool, posed = self._here()
        # A value that is not finite stays so, for the gate to refuse.
        delta = np.clip(action["arm.delta"], *self._limits)
        previous = q if self._previous is None else self._previous
        self._still = 0 if np.any(delta) else self._still + 1
        if self._previous is not None and self._still > _SETTLED:
            target = previous  # nobody moves it: counting from what is measured again and again would creep
        else:
            target = self._control.displace(previous, q, posed.anchors, posed.axes, tool, delta)
        others = {name: value for name, value in action.items() if name != "arm.delta"}
        sent = dict(self._env.act({"arm.q_target": target, **others}))
        self._previous = sent.pop("arm.q_target")
        after = self._chain.posture(self._previous)
        return {"arm.delta": displacement(posed, after, tool), **sent}

    def _here(self) -> tuple[Array, Array, Posture]:
        """Joints (1, k), tool (1, 3) and posture of the arm when a decision of now begins to act."""
        q, tool = self._seen["arm.q"], self._seen["tool.position"]
        seen = self._chain.posture(q)
        if "arm.dq" not in self._seen:
            return q, tool, seen
        later = q + self._env.delay_s * self._seen["arm.dq"]
        posed = self._chain.posture(later)
        return later, tool + posed.tool - seen.tool, posed

    def events(self) -> list[tuple[int, Event]]:
        """What the safety gate did since the last call."""
        return self._env.events()
