"""How fast the UR twin is under the vendor's client: states per second, and how long a command takes to show.

Run: python benchmarks/rtde_twin.py [--quick] [--physics kinematic]. The twin, by default with MuJoCo behind it, runs in
its own process; ur_rtde receives and commands at 125 and at 500 Hz. Latency is from calling servoJ with a target 0.002
rad further to the first received state whose set point has moved: one write, the twin's cycle, one package. Goals of
ours: 98 % of the asked states and a median latency of two periods. Nothing here says how fast a real controller is.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import numpy as np
import rtde_control
import rtde_receive

from hardware.twin_process import TwinProcess

ADDRESS = "127.0.77.1"
VARIABLES = ["timestamp", "target_q", "actual_q"]


def state_rate(rate_hz: float, seconds: float, physics: str) -> tuple[int, int, float]:
    """Distinct states seen by a polling client, packages sent and the twin's own seconds meanwhile."""
    with TwinProcess("ur", address=ADDRESS, physics=physics) as twin:
        receive = rtde_receive.RTDEReceiveInterface(ADDRESS, rate_hz, VARIABLES)
        before, end = twin.command("state"), time.monotonic() + seconds
        stamps = set()
        while time.monotonic() < end:
            stamps.add(receive.getTimestamp())
            time.sleep(0.0003)
        after = twin.command("state")
        receive.disconnect()
    return len(stamps), after["packages"] - before["packages"], after["time"] - before["time"]


def latencies(rate_hz: float, count: int, physics: str) -> np.ndarray:
    """Seconds from a command to its first visible effect, `count` of them, `count` servoJ at `rate_hz` between."""
    found = []
    with TwinProcess("ur", address=ADDRESS, physics=physics) as twin:
        receive = rtde_receive.RTDEReceiveInterface(ADDRESS, rate_hz, VARIABLES)
        control = rtde_control.RTDEControlInterface(ADDRESS, rate_hz)
        q, random = receive.getActualQ(), np.random.default_rng(0)
        for k in range(count):
            for _ in range(int(0.12 * rate_hz)):  # settle on the old target, commanding all the while
                start = control.initPeriod()
                control.servoJ(q, 0.0, 0.0, 1 / rate_hz, 0.03, 1000)
                control.waitPeriod(start)
            time.sleep(random.uniform(0, 1 / rate_hz))  # any phase against the twin's cycle
            q[0] += 0.002 if k % 2 else -0.002
            rest, began = receive.getTargetQ()[0], time.perf_counter()
            control.servoJ(q, 0.0, 0.0, 1 / rate_hz, 0.03, 1000)
            while abs(receive.getTargetQ()[0] - rest) < 1e-5 and time.perf_counter() - began < 1.0:
                time.sleep(0.0001)
            found.append(time.perf_counter() - began)
        control.stopScript()
        control.disconnect()
        receive.disconnect()
        assert twin.command("state")["safety"] == "NORMAL"
    return np.array(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds instead of a minute")
    parser.add_argument("--physics", default="mujoco", choices=["mujoco", "kinematic"], help="what moves")
    arguments = parser.parse_args()
    quick, physics = arguments.quick, arguments.physics
    judged: list[str] = []

    def judge(held: bool) -> str:
        judged.append("held" if held else "MISSED")
        return judged[-1]

    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {physics} arm")
    for rate_hz in (125.0, 500.0):
        seconds = 2.0 if quick else 10.0
        seen, sent, passed = state_rate(rate_hz, seconds, physics)
        print(
            f"{rate_hz:5.0f} Hz state: {seen} distinct in {seconds:.0f} s = {seen / seconds:.1f} Hz; {sent} packages "
            f"in {passed:.2f} s of the twin's clock = {sent / passed:.1f} Hz (goal {0.98 * rate_hz:.1f}: "
            f"{judge(seen / seconds >= 0.98 * rate_hz)})"
        )
        found = 1e3 * latencies(rate_hz, 20 if quick else 100, physics)
        p50, p99 = np.percentile(found, [50, 99])
        print(
            f"{rate_hz:5.0f} Hz command to effect: p50 {p50:.2f} ms, p99 {p99:.2f} ms, n {len(found)} "
            f"(goal p50 {2e3 / rate_hz:g}: {judge(p50 <= 2e3 / rate_hz)})"
        )
    sys.exit(1 if "MISSED" in judged and not quick else 0)


if __name__ == "__main__":
    main()
