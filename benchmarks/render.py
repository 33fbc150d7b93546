"""Pictures per second of the lift scene, and the memory of a large batch.

    python benchmarks/render.py [--rows 1024] [--seconds 1.0]

Each backend (EGL on a GPU or in software, OSMesa) runs in a process of its own, because MuJoCo picks its OpenGL once,
when it is imported. A backend that does not start is named with the reason. "light" is the robot of primitives that
learners see, "full" the vendor's meshes; shadows and multisampling are off, as in training.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

SIZES = ((84, 84), (128, 128), (640, 480))


def measure(seconds: float) -> None:
    """One backend: print the renderer's name and a line for every level and size."""
    from sim.render import Renderer
    from sim.tasks.lift import LiftConfig

    for level in ("light", "full"):
        env = LiftConfig(n=16, level=level).build()
        with Renderer(env.model) as renderer:
            for width, height in SIZES:
                rates = []
                for kind in (renderer.rgb, renderer.depth, renderer.segmentation):
                    kind(env.world.seen[:2], "agent", width, height)
                    frames, start = 0, time.perf_counter()
                    while time.perf_counter() - start < seconds:
                        kind(env.world.seen, "agent", width, height)
                        frames += env.n
                    rates.append(frames / (time.perf_counter() - start))
                print(
                    f"  {level:5s} {width:4d} x {height:3d}  " + "  ".join(f"{rate:8.0f}" for rate in rates), flush=True
                )
        env.close()


def memory(rows: int) -> None:
    """Step and draw a batch, then print the largest resident size of this process."""
    from robolearn.specs import zeros
    from sim.tasks.lift import LiftConfig

    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    env = LiftConfig(n=rows, cameras=(("agent", 84, 84),)).build()
    action = zeros(env.action_spec, (rows,))
    for _ in range(3):
        env.act(action)
        env.observe()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows} rows of lift with one 84 x 84 camera: peak {peak:.0f} MiB, {start:.0f} MiB of it the imports")
    env.close()


def main() -> None:
    """Run every backend and the memory test in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1024, help="rows of the memory test")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure")
    parser.add_argument("--part", choices=("measure", "memory"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "measure":
        return measure(options.seconds)
    if options.part == "memory":
        return memory(options.rows)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; pictures per second: colour, depth, segmentation")
    numbers = ["--rows", str(options.rows), "--seconds", str(options.seconds)]
    for backend in ("egl", "osmesa"):
        print(f"{backend}:", flush=True)
        command = [sys.executable, __file__, "--part", "measure", *numbers]
        done = subprocess.run(command, env=os.environ | {"MUJOCO_GL": backend}, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"  did not start: {done.stderr.strip().splitlines()[-1]}")
    subprocess.run([sys.executable, __file__, "--part", "memory", *numbers], check=True)


if __name__ == "__main__":
    main()
