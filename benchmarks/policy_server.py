"""A policy server on this computer's loopback: overhead over an in-process call, and four clients at once.

    python benchmarks/policy_server.py [--quick] [--checkpoint RUN]

The server runs in a process of its own, as it would. Calls of both kinds are interleaved, so that a busy machine slows
both. Without --checkpoint the model is an untrained regression policy for `lift` (the arithmetic is the same).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from robolearn import plugins
from robolearn.clock import MonotonicClock
from robolearn.learn.normaliser import Moments
from robolearn.remote.client import RemoteConfig, RemoteModel
from robolearn.remote.server import ServerConfig
from robolearn.specs import ArraySpec, Spec

OBSERVATION: Spec = {
    "arm.q": ArraySpec((7,)),
    "arm.dq": ArraySpec((7,)),
    "tool.position": ArraySpec((3,)),
    "tool.quaternion": ArraySpec((4,)),
    "cube.position": ArraySpec((3,)),
}
_SIZES = {"arm.delta": 6, "gripper.command": 1}
ACTION: Spec = {name: ArraySpec((size,), low=-1.0, high=1.0) for name, size in _SIZES.items()}


def model(checkpoint: str):
    """The model of a checkpoint, or an untrained one with fixed weights."""
    import torch

    torch.set_num_threads(1)
    if checkpoint:
        from robolearn.trained import load_model

        return load_model(Path(checkpoint), threads=1)[0]
    torch.manual_seed(0)
    names = {**OBSERVATION, **ACTION}
    statistics = {
        f"{name}": Moments(-np.ones(s.shape), np.ones(s.shape), np.zeros(s.shape), np.ones(s.shape))
        for name, s in names.items()
    }
    return plugins.load("policy", "regression")().build(OBSERVATION, ACTION, statistics).eval()


def serve(checkpoint: str) -> None:
    """The other process: serve until standard input ends, the port on standard output."""
    with ServerConfig(port=0).build(model(checkpoint), name="benchmark") as server:
        sys.stdout.write(json.dumps({"port": server.port}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        sys.stderr.write(f"server: {server.served} answers, {server.turned_away} times busy\n")


def draw(spec: Spec, history: int, generator: np.random.Generator):
    """A random request."""
    seen = {name: generator.normal(size=(1, history, *s.shape)).astype(s.dtype) for name, s in spec.items()}
    return seen, generator.integers(2**63, size=1).astype(np.uint64)


def overhead(remote: RemoteModel, local, calls: int) -> bool:
    """Time of a call, here and there, in turn; whether it is as allowed."""
    clock, generator = MonotonicClock(), np.random.default_rng(0)
    took: dict[str, list[float]] = {"here": [], "there": []}
    for k in range(calls + 50):
        request = draw(remote.observation_spec, remote.history, generator)
        answers = {}
        for name, who in (("here", local), ("there", remote)) if k % 2 else (("there", remote), ("here", local)):
            start = clock.now()
            answers[name] = who.predict(*request)
            if k >= 50:
                took[name].append(1e3 * (clock.now() - start))
        for name in remote.action_spec:
            assert np.array_equal(answers["here"][name], answers["there"][name]), "another answer than in this process"
    p50 = {name: float(np.median(values)) for name, values in took.items()}
    p99 = {name: float(np.percentile(values, 99)) for name, values in took.items()}
    ratio, more_ms = p50["there"] / p50["here"], p50["there"] - p50["here"]
    held = ratio <= 1.3 or more_ms <= 5.0
    print(
        f"a call of {calls}: here {p50['here']:.2f} / {p99['here']:.2f} ms (p50 / p99), there {p50['there']:.2f} / "
        f"{p99['there']:.2f} ms; ratio {ratio:.2f} (allowed 1.3), or more by {more_ms:.2f} ms (allowed 5): "
        f"{'held' if held else 'MISSED'}"
    )
    return held


def crowd(address: str, local, requests: int) -> None:
    """Four clients at once; every answer is compared with the one of this process."""
    lost, wrong, busy = [], [], []
    expected = threading.Lock()

    def work(seed: int) -> None:
        generator = np.random.default_rng(seed)
        with RemoteConfig(address, deadline_s=10.0).build() as remote:
            for _ in range(requests):
                request = draw(remote.observation_spec, remote.history, generator)
                answer = remote.predict(*request)
                with expected:
                    right = local.predict(*request)
                if answer is None:
                    lost.append(seed)
                if any(not np.array_equal(answer[name], right[name]) for name in right):
                    wrong.append(seed)
            busy.append(remote.busy)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    start = MonotonicClock().now()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = MonotonicClock().now() - start
    print(
        f"4 clients x {requests} requests: {len(busy)} clients ended well, {len(lost)} answers lost, {len(wrong)} "
        f"crossed or wrong, {sum(busy)} busy answers; {4 * requests / took:.0f} answers/s (allowed: none lost or "
        f"crossed: {'held' if len(busy) == 4 and not lost and not wrong else 'MISSED'})"
    )
    assert len(busy) == 4
    assert not lost
    assert not wrong


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    parser.add_argument("--checkpoint", default="", help="a trained policy instead of an untrained one")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.checkpoint)
        return
    command = [sys.executable, __file__, "--serve", "--checkpoint", chosen.checkpoint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = f"ws://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        local = model(chosen.checkpoint)
        with RemoteConfig(address, deadline_s=10.0).build() as remote:
            held = overhead(remote, local, 200 if chosen.quick else 2000)
        crowd(address, local, 100 if chosen.quick else 1000)
        assert process.stdin is not None
        process.stdin.close()
    sys.exit(0 if held or chosen.quick else 1)


if __name__ == "__main__":
    main()
