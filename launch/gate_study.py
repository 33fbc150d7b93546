"""Does the gate let regressions through? Candidates whose real worth is measured, judged by recordings alone.

robolearn run launch/gate_study.py [--quick] [--out runs/gate_study] [--seeds 1 2 3]

Each seed is a world of its own: a few demonstrations of lift, a policy cloned from them, rollouts of it with noise,
and from these the critics, the models and the gate. Candidates are honest ones (offline RL as shipped, at several
rates), planted bad ones (noised weights, the learning rate times 100, the wrong sign) and planted good ones (cloned on
from many more demonstrations). The gate never sees the starts from which all are evaluated for real, in pairs with the
incumbent.
"""

import copy
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from robolearn import plugins
from robolearn.compose import Chunked
from robolearn.data.cache import build_cache
from robolearn.data.store import Store
from robolearn.data.windows import Windows
from robolearn.episode import Outcome
from robolearn.intervals import paired_difference, wilson
from robolearn.learn.chain_policy import load_chain
from robolearn.learn.estimators import PaperEstimator
from robolearn.learn.examples import Examples
from robolearn.learn.gate import Gate, GateConfig, held_out_states
from robolearn.learn.improve import ChainActor, ImproveConfig, chain_kl, improve
from robolearn.learn.loop import TrainConfig, train
from robolearn.learn.order import batch_indices
from robolearn.learn.rewards import SparseRewardConfig
from robolearn.learn.sequential import TrialConfig, run_trial
from robolearn.report import Section, paragraph, provenance, table, write_page
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import write_json
from robolearn.stages.growth import Growth
from robolearn.stages.imitation import Imitation
from robolearn.stages.offline_rl import OfflineRL, estimators, fit_models, read_recordings
from robolearn.verbs.record import record

POLICY = {"plugin": "diffusion", "horizon": 4, "chunk": 4, "width": 128, "depth": 2, "sample_steps": 5}
SMALL: dict[str, Any] = {"width": 64, "depth": 2}
MODEL = {"members": 5, "elites": 4, "width": 192, "depth": 2}


@dataclass(frozen=True)
class Study:
    """Judge planted and honest candidates, and measure each for real."""

    out: Path = Path("runs/gate_study")
    """Folder of data, models and the report; what is finished there is not done again."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Worlds. Seed 0 was used for tuning and counts for nothing."""
    demonstrations: int = 10
    """Of the cloned policy."""
    rollouts: int = 150
    """Of that policy, with exploration noise."""
    good: int = 100
    """Demonstrations behind the planted good candidates."""
    steps: int = 1000
    """Training steps of imitation, critics and models."""
    starts: int = 200
    """Paired starts of each real evaluation."""
    trial: int = 100
    """Most starts of the trial on the bench; 0 for none."""
    quick: bool = False
    """A small version that checks the machinery."""


def candidates(study: Study) -> list[tuple[str, str, dict[str, Any]]]:
    """(kind, name, how) of every candidate of a world."""
    learn: dict[str, Any] = {"batches": 60}
    honest = [
        ("honest", f"offline RL, rate {rate:g}, {k}", learn | {"learning_rate": rate, "k": k})
        for rate in (3e-5, 1e-4, 3e-4)
        for k in range(2)
    ]
    bad = [
        ("noised", f"weights noised by {noise:.0%}", {"noise": noise, "k": k})
        for k, noise in enumerate((0.05, 0.1, 0.2, 0.3, 0.4))
    ]
    bad += [("rate x 100", f"rate x 100, {k}", learn | {"learning_rate": 3e-3, "k": 10 + k}) for k in range(2)]
    bad += [
        ("wrong sign", f"wrong sign, {k}", learn | {"sign": -1.0, "learning_rate": 3e-4, "k": 20 + k}) for k in range(2)
    ]
    good = [("good", f"cloned on, {steps} steps", {"clone": steps}) for steps in (300, 1000)]
    return [honest[0], bad[2], bad[5], good[0]] if study.quick else honest + bad + good


def make(how: dict[str, Any], model: Any, world: dict[str, Any], folder: Path) -> dict[str, float]:
    """Turn a copy of the incumbent into a candidate."""
    seed = 1000 * world["seed"] + how.get("k", 0)
    if "noise" in how:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.denoiser.parameters():
                parameter += (
                    how["noise"] * parameter.std(unbiased=False) * torch.randn(parameter.shape, generator=generator)
                )
        return {}
    if "clone" in how:
        config = TrainConfig(steps=how["clone"], batch_size=128, learning_rate=5e-4, warmup_steps=20, seed=seed)
        train(model, world["many"], config, folder, described={"plugin": "clone"}, quiet=True)
        return {}
    settings = ImproveConfig(learning_rate=how["learning_rate"], batches=how["batches"], target_kl=10.0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=settings.learning_rate)
    condition = torch.as_tensor(world["train"].condition)

    def advantages(c: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return how.get("sign", 1.0) * world["critics"].advantages(c, a, settings.pessimism)

    def batch(k: int) -> torch.Tensor:
        return condition[batch_indices(len(condition), settings.batch_size, seed, k)]

    return improve(
        model, optimizer, world["incumbent"], advantages, batch, settings, torch.Generator().manual_seed(seed)
    )


def successes(model: Any, env: Any, seeds: list[int]) -> list[bool]:
    """Per start, as deployed."""
    return [s.outcome is Outcome.SUCCESS for s in rollout(env, Chunked(model, env.n), seeds=seeds)]


def build_world(study: Study, seed: int, out: Path) -> dict[str, Any]:
    """Recordings, incumbent, critics, models and both gates of a seed."""
    task = {"plugin": "lift", "n": 50}
    env = plugins.from_dict("env", task).build()
    expert = plugins.load("expert", "lift")().build(env)
    for name, count, base in (("demonstrations", study.demonstrations, 310_000), ("many", study.good, 320_000)):
        with Store.open_or_create(out / name, durable=False) as store:
            if len(store) < count:
                record(store, env, expert, count - len(store), base + seed, operator="expert")
    training = {"steps": study.steps, "seed": seed}
    cloned = Imitation(str(out / "demonstrations"), POLICY, training).run(out / "imitation")
    grown = Growth(str(out / "demonstrations"), str(cloned), task, episodes=study.rollouts, seed=330_000 + seed).run(
        out / "growth"
    )
    stage = OfflineRL(
        str(grown / "store"), str(cloned), critic=SMALL, dynamics=MODEL, fitted=SMALL, seed=seed,
        critic_steps=study.steps, dynamics_steps=4 * study.steps,
        fitted_steps=(study.steps, max(20, int(0.4 * study.steps))),
    )  # fmt: skip
    model, _ = load_chain(cloned)
    recordings = read_recordings(stage, Store.open(stage.store), model)
    critics, dynamics = fit_models(stage, recordings, out / "models")
    states = held_out_states(recordings.held_out, stage.states, seed)
    reach = SparseRewardConfig().build().reach(stage.gamma)
    horizon = recordings.median_decisions
    paper = PaperEstimator(dynamics, critics, horizon)
    opinions = estimators(stage, recordings, critics, dynamics, horizon, ChainActor(copy.deepcopy(model)))
    many = build_cache(Store.open(out / "many"))
    return {
        "seed": seed, "env": env, "incumbent": copy.deepcopy(model).requires_grad_(False).eval(), "critics": critics,
        "train": recordings.train, "states": states, "counts": recordings.counts,
        "many": Examples(Windows(many, model.history, model.horizon, list(model.observation_spec)), many.key),
        "robust": Gate(GateConfig(), opinions, states, reach, out / "robust.jsonl"),
        "paper": Gate(GateConfig(mode="paper"), [paper], states, reach, out / "paper.jsonl"),
    }  # fmt: skip


def judge_world(study: Study, seed: int, out: Path) -> list[dict[str, Any]]:
    """Every candidate of a seed, judged and measured."""
    found, path = [], out / "results.json"
    if path.exists():
        return json.loads(path.read_text())
    world = build_world(study, seed, out)
    starts, incumbent = episode_seeds(study.starts, 900_000 + seed), world["incumbent"]
    base = successes(incumbent, world["env"], starts)
    condition = torch.as_tensor(world["states"].condition)
    for number, (kind, name, how) in enumerate(candidates(study)):
        model = copy.deepcopy(incumbent)
        for parameter in model.denoiser.parameters():
            parameter.requires_grad_(True)
        watched = make(how, model, world, out / "clones" / str(number))
        model.eval()
        real = successes(model, world["env"], starts)
        kl = chain_kl(model, incumbent, condition, torch.Generator().manual_seed(0))
        pair = ChainActor(model), ChainActor(incumbent)
        robust = world["robust"].judge(*pair, label=name, kl=kl, facts=watched)
        paper = world["paper"].judge(*pair, label=name, kl=kl, facts=watched)
        tried = None
        if study.trial and robust.accepted:
            config, seeds = TrialConfig(most=study.trial), episode_seeds(study.trial, 340_000 + 100 * seed + number)
            tried = run_trial(
                lambda s, m=model: successes(m, world["env"], list(s)),
                lambda s: successes(incumbent, world["env"], list(s)), seeds, config,
            ).verdict == "better"  # fmt: skip
        difference = paired_difference(real, base)
        found.append({
            "seed": seed, "kind": kind, "name": name, "kl": kl, "incumbent": sum(base), "candidate": sum(real),
            "starts": len(starts), "difference": difference.value, "low": difference.low, "high": difference.high,
            "robust": robust.accepted, "paper": paper.accepted, "tried": tried, "counts": world["counts"],
            "estimates": {k: dataclasses.asdict(v) for k, v in {**robust.estimates, **paper.estimates}.items()},
        })  # fmt: skip
        print(
            seed,
            name,
            f"real {difference}",
            "robust" if robust.accepted else "-",
            "paper" if paper.accepted else "-",
            flush=True,
        )
        world["robust"].estimators[1].keep([pair[1].key])
    world["env"].close()
    write_json(path, found)
    return found


def share(rows: list[dict[str, Any]], gate: str) -> str:
    """How many of these a gate accepted, with the interval."""
    return str(wilson(sum(bool(r[gate]) for r in rows), len(rows))) if rows else "none"


def main(study: Study) -> None:
    """Run the study and write its report."""
    torch.set_num_threads(1)
    if study.quick:
        study = dataclasses.replace(
            study, seeds=study.seeds[:1], demonstrations=5, rollouts=15, good=6, steps=30, starts=10, trial=0
        )
    rows = [r for seed in study.seeds for r in judge_world(study, seed, study.out / f"seed_{seed}")]
    worse = [r for r in rows if r["high"] < 0]
    regressed = [r for r in rows if r["difference"] < -0.02]
    better = [r for r in rows if r["low"] > 0]
    groups = {
        "really worse (95 % interval below 0)": worse,
        "measured more than 2 points worse": regressed,
        "in between": [r for r in rows if r not in worse and r not in better],
        "really better (95 % interval above 0)": better,
    }
    gates = ("robust", "tried", "paper") if study.trial else ("robust", "paper")
    header = (
        "candidates that are",
        "how many",
        *(f"accepted by {'robust + trial' if g == 'tried' else g}" for g in gates),
    )
    summary = [(name, len(group), *(share(group, g) for g in gates)) for name, group in groups.items()]
    kinds = [
        (
            kind,
            len(group),
            f"{100 * np.mean([r['difference'] for r in group]):+.1f} points",
            *(share(group, g) for g in gates),
        )
        for kind in dict.fromkeys(r["kind"] for r in rows)
        for group in [[r for r in rows if r["kind"] == kind]]
    ]
    lines = [
        (r["seed"], r["name"], f"{r['candidate']} - {r['incumbent']} of {r['starts']}",
         f"{r['difference']:+.1%} [{r['low']:+.1%}, {r['high']:+.1%}]", f"{r['kl']:.2g}",
         *(f"{r['estimates'][e]['mean']:+.3f} [{r['estimates'][e]['low']:+.3f}]" for e in ("rollout", "fitted")),
         *("yes" if r[g] else "" for g in gates))
        for r in rows
    ]  # fmt: skip
    for row in (header, *summary, *kinds):
        print(" | ".join(map(str, row)))
    lead = f"{len(rows)} candidates in {len(study.seeds)} worlds, each measured on {study.starts} paired starts."
    every = ("seed", "candidate", "successes", "real difference", "KL", "rollout [low]", "fitted [low]", *gates)
    sections = [
        Section("Accepted", table(header, summary)),
        Section("By kind", table(("kind", "how many", "mean real difference", *header[2:]), kinds)),
        Section("Every candidate", table(every, lines)),
        Section("How to read this", paragraph(" ".join((__doc__ or "").split()))),
        Section("How this was made", provenance({"settings": json.dumps(dataclasses.asdict(study), default=str)})),
    ]
    print("Report:", write_page(study.out / "report.html", "Does the gate let regressions through?", lead, sections))


if __name__ == "__main__":
    main(tyro.cli(Study, description=Study.__doc__))
