"""How many demonstrations does lift need? The curve over 5, 10, 20, 50 and 100 scripted ones, for two ways of seeing.

robolearn run launch/train_lift.py [--quick] [--out runs/train_lift] [--steps 4000] [--sees places gaps]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from robolearn import plugins
from robolearn.data.store import Store
from robolearn.report import Section, bars, curves, provenance, table, write_page
from robolearn.stages.evaluate import Evaluate, read_evaluation
from robolearn.stages.imitation import Imitation
from robolearn.verbs.record import record

POLICY = {"plugin": "diffusion", "chunk": 4}
SEES: dict[str, dict[str, Any]] = {"places": {}, "gaps": {"relative": True, "observation_noise": 0.005}}
"""Where the arm and the cube are, or how far the tool has to go (`policies.networks.gaps`)."""
TASK = {"plugin": "lift", "n": 50}


@dataclass(frozen=True)
class Study:
    """Train on more and more demonstrations and evaluate each policy from the same fresh starts."""

    out: Path = Path("runs/train_lift")
    """Folder of stores, runs and the report."""
    counts: tuple[int, ...] = (5, 10, 20, 50, 100)
    """How many demonstrations."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds; each has demonstrations of its own."""
    sees: tuple[Literal["places", "gaps"], ...] = ("places", "gaps")
    """What the policies see."""
    steps: int = 4000
    """Training steps of each policy."""
    starts: int = 200
    """Evaluation starts."""
    quick: bool = False
    """A small version that checks the machinery."""


def demonstrations(folder: Path, episodes: int, seed: int) -> Path:
    """A store with so many scripted demonstrations."""
    with Store.open_or_create(folder) as store:
        if len(store) < episodes:
            env = plugins.from_dict("env", TASK | {"n": 20}).build()
            record(
                store, env, plugins.load("expert", "lift")().build(env), episodes - len(store), seed, operator="expert"
            )
            env.close()
    return folder


def main(study: Study) -> None:
    """Run the study; what is finished in its folder is not done again."""
    counts, seeds = ((4, 8), (0,)) if study.quick else (study.counts, study.seeds)
    steps, starts = (60, 10) if study.quick else (study.steps, study.starts)
    env = plugins.to_dict("env", plugins.from_dict("env", TASK))
    results = {}
    for seed in seeds:
        data = demonstrations(study.out / f"data_{seed}", max(counts), 100 + seed)
        for count in counts:
            for sees in study.sees:
                name = f"{count} demonstrations, {sees}, seed {seed}"
                key = f"{count}_{seed}" if sees == "places" else f"{count}_{seed}_{sees}"
                run, train = study.out / f"run_{key}", {"steps": steps, "batch_size": 128, "seed": seed}
                Imitation(str(data), POLICY | SEES[sees], train, episodes=count).run(run)
                result = study.out / f"evaluation_{key}"
                Evaluate(env, str(run), starts, label=name, films=0).run(result)
                results[count, seed, sees] = read_evaluation(result)
                print(f"{name}: {results[count, seed, sees].rate}", flush=True)
    columns = [(seed, sees) for sees in study.sees for seed in seeds]
    titles = [f"{sees}, seed {seed}" for seed, sees in columns]
    lines = {
        title: (list(counts), [100 * results[count, *column].rate.value for count in counts])
        for title, column in zip(titles, columns, strict=True)
    }
    rows = [(count, *(str(results[count, *column].rate) for column in columns)) for count in counts]
    sections = [
        Section("Success over demonstrations", curves(lines, x="demonstrations", y="success in %")),
        Section("With intervals", bars({r.label: r.rate for r in results.values()})),
        Section("Table", table(("demonstrations", *titles), rows)),
        Section("How this was made", provenance({"steps": steps, "starts": starts})),
    ]
    lead = (
        "A diffusion policy that sees the arm's and the cube's places, or the gaps between them, trained on scripted "
        "demonstrations of native lift."
    )
    print("Report:", write_page(study.out / "report.html", "How many demonstrations does lift need?", lead, sections))


if __name__ == "__main__":
    main(tyro.cli(Study, description=Study.__doc__))
