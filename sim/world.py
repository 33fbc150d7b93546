"""n copies of one MuJoCo model, stepped together by native threads.

`mujoco.rollout` steps every row in C++ for one control period at a time; what comes back is the full physics state
and the sensors of each row. MuJoCo answers faults in silence (a bad control zeroes all controls, a bad state resets
the scene), so every call proves that its rows stayed finite and that their time grew by exactly one period.

Sensors are evaluated at the start of a substep, before it is integrated. What the last substep of a period reports
is therefore one substep older than the state, and `seen` and `time` are of that moment. A restart rolls out one
substep, so that the sensors show exactly the restarted state and observations are evenly spaced ever after.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from robolearn.errors import SimulationFault
from robolearn.specs import Array
from sim.engine import MjModel, mujoco, rollout

__all__ = ["World", "sensor_layout"]

_STATE = int(mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
_INPUTS = {
    name: int(getattr(mujoco.mjtState, f"mjSTATE_{name.upper()}").value)
    for name in ("ctrl", "xfrc_applied", "eq_active", "mocap_pos", "mocap_quat")
}
_BAD = ("BADQPOS", "BADQVEL", "BADQACC", "BADCTRL")
_BAD_INDEX = [int(getattr(mujoco.mjtWarning, f"mjWARN_{name}")) for name in _BAD]
_LIMIT = 1e10  # mjMAXVAL: what MuJoCo itself calls bad
_TIME_TOLERANCE_S = 1e-9


def sensor_layout(model: MjModel) -> dict[str, slice]:
    """Where each sensor lies in `sensordata`; "name/0", "name/1", ... are one entry "name"."""
    layout: dict[str, slice] = {}
    for index in range(model.nsensor):
        name = model.sensor(index).name.split("/")[0]
        start = int(model.sensor_adr[index])
        stop = start + int(model.sensor_dim[index])
        if name in layout and layout[name].stop != start:
            raise ValueError(f"The parts of the sensor {name!r} must follow each other in the model.")
        layout[name] = slice(layout[name].start if name in layout else start, stop)
    return layout


class World:
    """n rows of one model. Rows never influence each other, and the thread count changes no bit.

    Attributes:
        state: (n, nstate) full physics state now: time, qpos, qvel, act.
        seen: (n, nstate) the state that the sensors describe, one substep ago.
        sensors: (n, nsensordata) as evaluated at `seen`.
        inputs: Writable views of the next period's inputs, each (n, substeps, ...): "ctrl" (nu), "xfrc_applied"
            (6 nbody, force and torque on each body), "eq_active" (neq), "mocap_pos" (3 nmocap) and "mocap_quat"
            (4 nmocap).
        input_spec: MuJoCo's bits of these inputs, in this order.
    """

    def __init__(self, model: MjModel, n: int, *, substeps: int, threads: int = 1):
        if n < 1 or substeps < 2 or threads < 1:
            raise ValueError(f"Expected n >= 1, substeps >= 2, threads >= 1; found {n}, {substeps}, {threads}.")
        # With automatic reset a bad state would come back as a clean scene; without, it stays bad and is seen.
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.model, self.n, self.substeps = model, n, substeps
        self.layout = sensor_layout(model)
        # The calling thread waits for a pool, so one thread is best served by no pool at all.
        self._pool = rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._models = [model] * n
        self._all = np.arange(n)
        self.input_spec = sum(_INPUTS.values())
        nstate, ninput = mujoco.mj_stateSize(model, _STATE), mujoco.mj_stateSize(model, self.input_spec)
        self.state = np.zeros((n, nstate))
        self.seen = np.zeros((n, nstate))
        self.sensors = np.zeros((n, model.nsensordata))
        self._states = np.zeros((n, substeps, nstate))
        self._sensordata = np.zeros((n, substeps, model.nsensordata))
        self._control = np.zeros((n, substeps, ninput))
        self.inputs: dict[str, Array] = {}
        start = 0
        for name, bit in _INPUTS.items():
            stop = start + mujoco.mj_stateSize(model, bit)
            self.inputs[name] = self._control[:, :, start:stop]
            start = stop
        # What nobody touches: welds and mocap bodies as the model has them, no forces.
        self._rest = np.concatenate([np.zeros(model.nu + 6 * model.nbody), model.eq_active0, *_mocap_rest(model)])
        self._control[:] = self._rest

    @property
    def time(self) -> Array:
        """(n,) seconds since each row's restart at which its sensors were evaluated."""
        return self.seen[:, 0].copy()

    def own_model(self, row: int) -> MjModel:
        """The model of this row alone, for changes of masses or friction until `share_model`."""
        if self._models[row] is self.model:
            self._models[row] = copy.copy(self.model)
        return self._models[row]

    def share_model(self, rows: Sequence[int]) -> None:
        """Give these rows the common model back."""
        for row in rows:
            self._models[row] = self.model

    def restart(self, rows: Sequence[int], qpos: Array, ctrl: Array) -> None:
        """Put rows at rest in new positions and evaluate their sensors there.

        Args:
            rows: Which rows, m of them.
            qpos: (m, nq) positions.
            ctrl: (m, nu) controls of the one substep that is rolled out.

        Raises:
            SimulationFault: A position or control is bad; nothing is changed.
        """
        index = np.asarray(rows, dtype=np.intp)
        begin = np.zeros((len(index), self.state.shape[1]))
        begin[:, 1 : 1 + self.model.nq] = qpos
        # No grab and no push survives a restart.
        self._control[index] = self._rest
        control = self._control[index, :1].copy()
        control[:, 0, : self.model.nu] = ctrl
        states = np.empty((len(index), 1, begin.shape[1]))
        sensordata = np.empty((len(index), 1, self.model.nsensordata))
        self._roll(begin, np.zeros((len(index), self.model.nv)), control, states, sensordata, index)
        self.state[index], self.seen[index], self.sensors[index] = states[:, 0], begin, sensordata[:, 0]

    def step(self) -> None:
        """Advance all rows by `substeps` under `inputs`.

        Raises:
            SimulationFault: A control is not finite, or a row went bad; the world stays where it was.
        """
        # The last substep's acceleration is where the solver starts; without it every period costs 15 % more.
        speeds = slice(1 + self.model.nq, 1 + self.model.nq + self.model.nv)
        warmstart = (self.state[:, speeds] - self.seen[:, speeds]) / self.model.opt.timestep
        self._roll(self.state, warmstart, self._control, self._states, self._sensordata, self._all)
        self.state[:] = self._states[:, -1]
        self.seen[:] = self._states[:, -2]
        self.sensors[:] = self._sensordata[:, -1]

    def warnings(self) -> dict[str, int]:
        """MuJoCo's counters of bad states and controls, summed over the threads' last rows."""
        counts = np.sum([data.warning.number[_BAD_INDEX] for data in self._data], axis=0)
        return {name: int(count) for name, count in zip(_BAD, counts, strict=True)}

    def close(self) -> None:
        """Stop the threads; safe to call twice."""
        if self._pool.rollout_ is not None:
            self._pool.close()

    def _roll(
        self, begin: Array, warmstart: Array, control: Array, states: Array, sensordata: Array, rows: Array
    ) -> None:
        # Extremes instead of absolute values: the largest array of a step is read and not copied. NaN fails both.
        if not (control.max() < _LIMIT and control.min() > -_LIMIT):
            bad = rows[~np.all(np.abs(control) < _LIMIT, axis=(1, 2))]
            raise SimulationFault(
                f"Controls must be finite; found a bad one in rows {bad.tolist()}. Nothing was stepped."
            )
        steps = states.shape[1]
        self._pool.rollout(
            self._models if rows is self._all else [self._models[row] for row in rows],
            self._data,
            begin,
            control,
            control_spec=self.input_spec,
            initial_warmstart=warmstart,
            skip_checks=True,
            chunk_size=1,  # handing out a row costs a microsecond, waiting for the last of a larger chunk milliseconds
            nstep=steps,
            state=states,
            sensordata=sensordata,
        )
        end = states[:, -1]
        grown = end[:, 0] - begin[:, 0] - steps * self.model.opt.timestep
        # Written so that NaN is bad. A rollout that warns stops early, which its time gives away.
        good = (np.abs(grown) < _TIME_TOLERANCE_S) & (end.max(axis=1) < _LIMIT) & (end.min(axis=1) > -_LIMIT)
        if not good.all() or any(data.warning.number[_BAD_INDEX].any() for data in self._data):
            warnings = self.warnings()
            raise SimulationFault(
                f"The simulation went bad in rows {rows[~good].tolist() or 'unknown'}: time must grow by "
                f"{steps * self.model.opt.timestep:g} s and the state stay finite; MuJoCo's counters say {warnings}. "
                "Nothing was changed; reset these rows, and check masses, gains and the timestep of the model."
            )


def _mocap_rest(model: MjModel) -> tuple[Array, Array]:
    bodies = np.argsort(model.body_mocapid)[model.nbody - model.nmocap :]
    return model.body_pos[bodies].ravel(), model.body_quat[bodies].ravel()
