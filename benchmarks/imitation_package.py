"""Our tabular maximum-entropy oracle against the package `imitation`, which implements the same published method.

python benchmarks/imitation_package.py [--install]

imitation 1.0.1 pins gymnasium 0.29 and stable-baselines3 2.2, so it lives in a folder of its own below the user's
cache (as BlazePose does) and is compared in a process of its own; torch and numpy are those of this environment.
Compared are the soft policy and its values and the visits of every step, also with a discount, and the rewards that
both learn from the same demonstrations: their soft policies must visit what the demonstrations visit.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from robolearn.keypoints.max_entropy import Table, fit_reward, soft_policy, sorting_table, visits

PACKAGES = (
    "imitation==1.0.1",
    "seals==0.2.1",
    "stable-baselines3==2.2.1",
    "gymnasium==0.29.1",
    "pandas==2.2.3",
    "pytz==2026.6",
    "python-dateutil==2.9.0.post0",
    "six==1.17.0",
    "cloudpickle==3.1.3",
    "farama-notifications==0.0.6",
)
"""What the tabular part of it imports, beside torch, numpy and scipy."""

WORKER = """
import json, sys
import numpy as np
from imitation.algorithms.mce_irl import MCEIRL, mce_occupancy_measures, mce_partition_fh
from imitation.rewards.reward_nets import RewardNet
from imitation.util import logger
from seals.base_envs import TabularModelPOMDP
import torch

class OneNumberPerState(RewardNet):
    def __init__(self, env, size):
        super().__init__(env.observation_space, env.action_space, normalize_images=False)
        self.r = torch.nn.Parameter(torch.zeros(size, dtype=torch.float64))
    def forward(self, state, action, next_state, done):
        return state.double() @ self.r

asked = json.load(sys.stdin)
size = len(asked["initial"])
env = TabularModelPOMDP(
    transition_matrix=np.array(asked["transitions"]), observation_matrix=np.eye(size),
    reward_matrix=np.array(asked["reward"]), horizon=asked["horizon"], initial_state_dist=np.array(asked["initial"]),
)
out = {}
for gamma in (1.0, asked["discount"]):
    V, Q, pi = mce_partition_fh(env, discount=gamma)
    D, _ = mce_occupancy_measures(env, pi=pi)
    out[str(gamma)] = {"value": V.tolist(), "policy": pi.tolist(), "visits": D.tolist()}
torch.manual_seed(0)
net = OneNumberPerState(env, size)
learner = MCEIRL(np.array(asked["shown"]), env, net, np.random.default_rng(0),
                 optimizer_kwargs={"lr": 0.05}, log_interval=None, linf_eps=1e-4, grad_l2_eps=1e-6,
                 custom_logger=logger.configure(asked["scratch"], format_strs=()))
learner.train(max_iter=3000)
out["learned"] = net.r.detach().tolist()
print("ANSWER" + json.dumps(out))
"""


def environment() -> Path:
    """Where the package is: $ROBOLEARN_CACHE or ~/.cache/robolearn, below it "imitation-1.0.1"."""
    cache = os.environ.get("ROBOLEARN_CACHE") or str(Path.home() / ".cache" / "robolearn")
    return Path(cache) / "imitation-1.0.1"


def installed() -> bool:
    """Whether `install` has finished here."""
    return (environment() / "complete").is_file()


def install() -> Path:
    """Put the package into its folder; nothing is done when it is there."""
    folder = environment()
    if not installed():
        options = ["--no-deps", "--disable-pip-version-check", "-q", "--upgrade", "--target", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *PACKAGES], check=True)
        (folder / "complete").write_text("\n".join(PACKAGES) + "\n")
    return folder


@dataclass(frozen=True)
class Agreement:
    """Largest differences between the two implementations, and how far each is from the demonstrations."""

    policy: float
    value: float
    visits: float
    discounted_policy: float
    discounted_value: float
    demonstrations_ours: float
    demonstrations_theirs: float


def ask(table: Table, reward: np.ndarray, shown: np.ndarray, discount: float, scratch: Path) -> dict:
    """What the package says of a table and of demonstrations' expected visits (S,) over H + 1 states."""
    question = {
        "transitions": table.transitions.tolist(),
        "initial": table.initial.tolist(),
        "horizon": table.horizon,
        "reward": reward.tolist(),
        "discount": discount,
        "shown": shown.tolist(),
        "scratch": str(scratch),
    }
    facts = {**os.environ, "PYTHONPATH": str(environment()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        env=facts,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the package failed: {done.stderr[-800:]}")
    return json.loads(done.stdout.rpartition("ANSWER")[2])


def compare(
    scratch: Path, table: Table | None = None, true: np.ndarray | None = None, discount: float = 0.9
) -> Agreement:
    """Both implementations on a table; by default onion sorting over eight decisions."""
    if table is None or true is None:
        table, true = sorting_table(8)
    reward = 3.0 * true
    policy, value = soft_policy(table, reward)
    seen, decisions = visits(table, policy)
    # The package counts the state after the last decision as well; ours only those in which something is decided.
    last = np.einsum("sa,sax->x", decisions[-1], table.transitions)
    theirs = ask(table, reward, seen.sum(axis=0) + last, discount, scratch)
    plain, discounted = theirs["1.0"], theirs[str(discount)]
    table_discounted = Table(table.transitions, table.initial, table.horizon, discount=discount)
    other_policy, other_value = soft_policy(table_discounted, reward)
    learned = fit_reward(table, decisions, steps=1500)[0]
    wanted = seen.sum(axis=0)

    def missed(found: np.ndarray) -> float:
        return float(np.abs(visits(table, soft_policy(table, found)[0])[0].sum(axis=0) - wanted).max())

    return Agreement(
        float(np.abs(policy - plain["policy"]).max()),
        float(np.abs(value - plain["value"]).max()),
        float(np.abs(seen - np.array(plain["visits"])[:-1]).max()),
        float(np.abs(other_policy - discounted["policy"]).max()),
        float(np.abs(other_value - discounted["value"]).max()),
        missed(learned),
        missed(np.array(theirs["learned"])),
    )


@dataclass(frozen=True)
class Benchmark:
    """Compare with the package `imitation`."""

    install: bool = False
    """Put the package into its own folder first."""
    scratch: Path = Path("runs/imitation_package")
    """Where the package may write its log."""


def main(benchmark: Benchmark) -> None:
    """Print the largest differences."""
    if benchmark.install:
        print(f"imitation 1.0.1 is ready in {install()}.")
    if not installed():
        raise SystemExit(f"imitation is not installed in {environment()}; add --install.")
    benchmark.scratch.mkdir(parents=True, exist_ok=True)
    for name, number in vars(compare(benchmark.scratch)).items():
        print(f"{name.replace('_', ' ')}: {number:.2e}")


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=Benchmark.__doc__))
