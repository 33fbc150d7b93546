"""How far the MuJoCo twin's joints are from recorded ones when it gets the recorded commands.

Run: python benchmarks/twin_fidelity.py [--quick] [--store FOLDER --robot ur5e]. With a store, its episodes are replayed
(they need "arm.q" and "arm.q_target"). Without one, an episode is recorded first: our UR driver with the vendor's
client at 125 Hz over RTDE, smooth motions of all joints, on the protocol twin of a UR5e with MuJoCo behind it. That
controller smooths and delays servo commands, which the replay does not model except for one lag, chosen on the first
half of the recording and judged on the second. No real arm was ever recorded.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from hardware.twin_process import TwinProcess
from hardware.ur import URConfig
from robolearn.data.store import Store
from robolearn.episode import Episode, EpisodeMeta, Outcome
from sim.fidelity import best_lag, compare

ADDRESS = "127.0.78.1"
LAGS_S = tuple(np.round(np.arange(0.0, 0.161, 0.01), 3))


def record(seconds: float) -> Episode:
    """Record smooth motions of a UR5e through its protocol."""
    q, sent, times = [], [], []
    with TwinProcess("ur", address=ADDRESS, physics="mujoco"), URConfig(ADDRESS, stale_s=0.3).build() as robot:
        start = robot.read().arrays["arm.q"].copy()
        random = np.random.default_rng(0)
        rates, phases = random.uniform(0.8, 2.0, 6), random.uniform(0, 2 * np.pi, 6)
        began = time.monotonic()
        while (t := time.monotonic() - began) < seconds:
            reading = robot.read()
            if times and reading.time <= times[-1]:
                continue
            q.append(reading.arrays["arm.q"])
            times.append(float(reading.time))
            goal = start + 0.15 * min(1.0, t) * (np.sin(rates * t + phases) - np.sin(phases))
            sent.append(robot.write({"arm.q_target": goal})["arm.q_target"])
        spec, action = robot.observation_spec["arm.q"], robot.action_spec["arm.q_target"]
    return Episode(
        {"arm.q": spec},
        {"arm.q_target": action},
        {"arm.q": np.array(q)},
        {"arm.q_target": np.array(sent[:-1])},
        {"arm.q_target": np.array(sent[:-1])},
        np.zeros(len(q) - 1, np.int8),
        np.array(times),
        Outcome.SUCCESS,
        EpisodeMeta("fidelity", "move", 125.0, robot="ur5e"),
    )


def main() -> None:
    """Record or load, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four seconds of motion instead of twenty")
    parser.add_argument("--store", default="", help="replay the episodes of this store")
    parser.add_argument("--robot", default="ur5e", help="which robot of the simulation")
    arguments = parser.parse_args()
    episodes = list(Store.open(arguments.store)) if arguments.store else [record(4.0 if arguments.quick else 20.0)]
    for k, episode in enumerate(episodes):
        lag = best_lag(episode, arguments.robot, LAGS_S, (0.0, 0.5))
        for name, lag_s in (("as recorded", 0.0), (f"lag of {1e3 * lag:.0f} ms", lag)):
            f = compare(episode, arguments.robot, lag_s=lag_s, part=(0.5, 1.0))
            joints = " ".join(f"{1e3 * x:.1f}" for x in f.joints)
            print(
                f"episode {k}, {name}: rms {1e3 * f.rms:.2f} mrad, worst {1e3 * f.worst:.2f} mrad over {f.steps} "
                f"measurements of the second half; per joint {joints} mrad"
            )


if __name__ == "__main__":
    main()
