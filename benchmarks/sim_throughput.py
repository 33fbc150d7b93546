"""Control steps per second: a native task against raw MuJoCo stepping, and lift against robosuite's Lift.

    python benchmarks/sim_throughput.py [--quick] [--task NAME ... | --task all]

Everything runs in this one process (robosuite in two workers), in interleaved blocks, and medians are printed, so
that a noisy machine disturbs all alike. "raw" is `mj_step` in C++ on the same model, from the same states, with the
same controls, as one long rollout without any Python in between, on the same number of threads; "raw1*threads" is what
two threads would give if they did not slow each other down, which is not in our hands. Both wall time and CPU time are
given; CPU time is the fairer one when other programs use the machine. For lift, a `gymnasium.vector.AsyncVectorEnv` of
our own single environment is measured too: the same task, one process per row.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from robolearn import plugins
from robolearn.specs import Array
from sim.config import SimConfig
from sim.engine import mujoco, rollout
from sim.env import BatchEnv

STEPS = 30
ROWS = (1, 16, 64, 256)


def record(env: BatchEnv) -> tuple[list[dict[str, Array]], Array, Array]:
    """The teacher's actions, the states they start from and the inputs they lead to, (n, STEPS * substeps, ...)."""
    teacher = plugins.load("expert", env.task.name)().build(env)
    env.reset(range(env.n), range(env.n))
    teacher.reset(range(env.n), range(env.n))
    actions, inputs, start = [], [], env.world.state.copy()
    for _ in range(STEPS):
        decision = teacher.act(env.observe().arrays)
        actions.append({name: decision[name] for name in env.action_spec})
        env.act(actions[-1])
        inputs.append(np.concatenate(list(env.world.inputs.values()), axis=-1))
    return actions, start, np.ascontiguousarray(np.concatenate(inputs, axis=1))


def native(env: BatchEnv, actions: list[dict[str, Array]]) -> Callable[[], int]:
    """One block of native control steps; a reset is outside of it, as with robosuite (an episode is many blocks)."""

    def block() -> int:
        for action in actions:
            env.act(action)
            env.observe()
        return env.n * STEPS

    return block


def raw(env: BatchEnv, start: Array, inputs: Array, threads: int) -> Callable[[], int]:
    """The same physics as one rollout."""
    pool = rollout.Rollout(nthread=threads if threads > 1 else 0)
    data = [mujoco.MjData(env.model) for _ in range(threads)]
    n, steps = inputs.shape[:2]
    states, sensors = np.empty((n, steps, start.shape[1])), np.empty((n, steps, env.model.nsensordata))

    def block() -> int:
        pool.rollout(
            [env.model] * n, data, start, inputs, control_spec=env.world.input_spec, skip_checks=True, nstep=steps,
            state=states, sensordata=sensors,
        )  # fmt: skip
        return env.n * STEPS

    return block


def robosuite_worker(pipe: Connection) -> None:
    """Plain robosuite, 20 Hz, without our adapter; answers the number of steps with wall and CPU seconds."""
    logging.disable(logging.WARNING)
    import robosuite
    from robosuite.controllers import load_composite_controller_config

    env = robosuite.make(
        "Lift",
        robots="Panda",
        controller_configs=load_composite_controller_config(controller="BASIC", robot="Panda"),
        control_freq=20,
        use_camera_obs=False,
        has_offscreen_renderer=False,
        ignore_done=True,
        hard_reset=False,
    )
    env.reset()
    pipe.send(None)
    while (steps := pipe.recv()) is not None:
        env.reset()
        wall, cpu = time.perf_counter(), time.process_time()
        for step in range(steps):
            env.step(np.array([0.0, 0.0, -0.3 if step < steps // 2 else 0.3, 0.0, 0.0, 0.1, -1.0]))
        pipe.send((time.perf_counter() - wall, time.process_time() - cpu))


def timed(block: Callable[[], int], env: BatchEnv | None) -> tuple[float, float]:
    """Control steps per wall second and per CPU second of one block, from the start of episodes of `env`."""
    if env is not None:
        env.reset(range(env.n), range(env.n))
    wall, cpu = time.perf_counter(), time.process_time()
    steps = block()
    return steps / (time.perf_counter() - wall), steps / (time.process_time() - cpu)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer blocks and rows")
    parser.add_argument("--task", nargs="+", default=["lift"], help='names of simulated tasks, or "all"')
    parser.add_argument("--blocks", type=int, default=9, help="interleaved blocks whose median is printed")
    options = parser.parse_args()
    ours = [name for name in plugins.names("env") if issubclass(plugins.load("env", name), SimConfig)]
    for task in ours if options.task == ["all"] else options.task:
        measure(task, options.quick, options.blocks)
        if task == "lift":
            asynchronous(options.quick)


def asynchronous(quick: bool) -> None:
    """Control steps per second of Gymnasium's processes around our single environment, beside our batch of as many."""
    import gymnasium

    from sim.gymnasium_env import BatchVectorEnv

    name = "sim.gymnasium_env:robolearn/Lift-v0"
    print("lift as gymnasium.vector: rows, AsyncVectorEnv (a process a row), our batch with two threads, ratio")
    for rows in (2, 16):
        envs = {
            "async": gymnasium.make_vec(name, num_envs=rows, vectorization_mode="async"),
            "batch": BatchVectorEnv("lift", num_envs=rows, threads=2),
        }
        rates: dict[str, list[float]] = {kind: [] for kind in envs}
        for env in envs.values():
            env.reset(seed=0)
        for _ in range(2 if quick else 5):
            for kind, env in envs.items():
                action = np.zeros(env.action_space.shape)
                start = time.perf_counter()
                for _ in range(STEPS):
                    env.step(action)
                rates[kind].append(rows * STEPS / (time.perf_counter() - start))
        for env in envs.values():
            env.close()
        theirs, mine = (statistics.median(rates[kind]) for kind in ("async", "batch"))
        print(f"{rows:5d} {theirs:8.0f} {mine:8.0f} {mine / theirs:6.1f} x")


def measure(task: str, quick: bool, blocks: int) -> None:
    """Measure one task and print its table."""
    blocks, rows, robosuite_steps = (3, (1, 64), 40) if quick else (blocks, ROWS, 100)
    workers_wanted = 2 if task == "lift" else 0

    context = multiprocessing.get_context("spawn")
    workers, pipes = [], []
    for _ in range(workers_wanted):
        ours, theirs = context.Pipe()
        workers.append(context.Process(target=robosuite_worker, args=(theirs,), daemon=True))
        workers[-1].start()
        pipes.append(ours)

    contests: dict[tuple[str, int, int], tuple[Callable[[], int], BatchEnv | None]] = {}
    for n in rows:
        for threads in (1, 2):
            env = plugins.load("env", task)(n=n, threads=threads).build()
            actions, start, inputs = record(env)
            contests["native", n, threads] = native(env, actions), env
            contests["raw", n, threads] = raw(env, start, inputs, threads), None
    for pipe in pipes:
        pipe.recv()

    results: dict[tuple[str, int, int], list[tuple[float, float]]] = {}
    for block in range(blocks + 1):
        for name, run in contests.items():
            results.setdefault(name, []).append(timed(*run))
        for count in (1, 2) if pipes else ():
            for pipe in pipes[:count]:
                pipe.send(robosuite_steps)
            times = [pipe.recv() for pipe in pipes[:count]]
            wall = count * robosuite_steps / max(t[0] for t in times)
            cpu = count * robosuite_steps / sum(t[1] for t in times)
            results.setdefault(("robosuite", 1, count), []).append((wall, cpu))
        if block == 0:
            results = {}  # a warm-up
    for pipe in pipes:
        pipe.send(None)

    wall = {name: statistics.median(r[0] for r in runs) for name, runs in results.items()}
    cpu = {name: statistics.median(r[1] for r in runs) for name, runs in results.items()}
    print(
        f"{task}: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, medians of {blocks} blocks, "
        "control steps per second",
        flush=True,
    )
    print(" rows  threads  native     raw  ratio | raw1*threads  ratio | per CPU second: native    raw  ratio")
    for kind, n, threads in wall:
        if kind == "native":
            mine, best, ideal = wall[kind, n, threads], wall["raw", n, threads], wall["raw", n, 1] * threads
            mine_cpu, best_cpu = cpu[kind, n, threads], cpu["raw", n, threads]
            print(
                f"{n:5d} {threads:8d} {mine:7.0f} {best:7.0f} {mine / best:6.2f} | {ideal:12.0f} {mine / ideal:6.2f} |"
                f" {mine_cpu:22.0f} {best_cpu:6.0f} {mine_cpu / best_cpu:6.2f}"
            )
    if not pipes:
        return
    one, two, big = ("robosuite", 1, 1), ("robosuite", 1, 2), max(rows)
    print(f"robosuite Lift: 1 process {wall[one]:.0f} ({cpu[one]:.0f} per CPU second), 2 processes {wall[two]:.0f}")
    print(f"native {big} rows, 1 thread, over robosuite, 1 process: {wall['native', big, 1] / wall[one]:.1f} x")
    print(f"  the same per CPU second: {cpu['native', big, 1] / cpu[one]:.1f} x")
    print(f"native {big} rows, 2 threads, over robosuite, 1 process: {wall['native', big, 2] / wall[one]:.1f} x")
    print(f"native {big} rows, 2 threads, over robosuite, 2 processes: {wall['native', big, 2] / wall[two]:.1f} x")


if __name__ == "__main__":
    main()
