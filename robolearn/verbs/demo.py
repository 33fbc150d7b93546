"""`robolearn demo`: the main job from nothing to a report, on real human demonstrations.

Human Lift demonstrations are fetched and imported; a diffusion policy and a plain regression are trained on them and
compared in robosuite from the same starts. Scripted demonstrations of the native lift task are recorded through the
same recorder, a diffusion policy is trained on them and evaluated from fresh starts. Every step is skipped when it is
already finished in the folder, so an interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn import plugins
from robolearn.cli import parse, say
from robolearn.clock import MonotonicClock
from robolearn.contracts import Env
from robolearn.data.fetch import get
from robolearn.data.robomimic import import_robomimic
from robolearn.data.store import Store
from robolearn.errors import RobolearnError
from robolearn.intervals import paired_difference
from robolearn.report import Section, films, paragraph, provenance, table, video, write_page
from robolearn.stages.evaluate import Evaluate, Evaluation, describe, read_evaluation
from robolearn.stages.imitation import Imitation
from robolearn.stages.improvement import Improvement
from robolearn.verbs.doctor import examine
from robolearn.verbs.record import record


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The main job: demonstrations, policies, one report. Takes about ten minutes on two cores."""

    out: Path = Path("runs/demo")
    """Folder of everything it makes; what is finished there is not done again."""
    quick: bool = False
    """A minute's version that checks the machinery; its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    recorded: int
    train_steps: int
    human_steps: int
    native_starts: int
    robosuite_starts: int
    few: int
    few_steps: int
    tried_steps: int
    distil_steps: int


FULL = Sizes(100, 2500, 3000, 200, 50, few=20, few_steps=2500, tried_steps=80_000, distil_steps=2000)
QUICK = Sizes(8, 60, 40, 8, 2, few=6, few_steps=60, tried_steps=1500, distil_steps=40)

HUMAN = {"plugin": "robosuite", "task": "Lift", "n": 2, "horizon": 200}
NATIVE = {"plugin": "lift", "n": 50}
GAPS = {"relative": True, "observation_noise": 0.005}
"""Where the poses of things are known, a policy learns from their gaps to the tool faster than from where they are."""


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    chosen: Any = parse(Arguments, arguments, prog="robolearn demo")
    sizes = QUICK if chosen.quick else FULL
    out = chosen.out / "quick" if chosen.quick else chosen.out
    clock = MonotonicClock()
    start = clock.now()
    missing = [f for f in examine() if f.verdict == "missing"]
    if missing:
        say(*(f"MISSING  {f.topic}  {f.text}" for f in missing))
        return 1

    say("[1/6] human demonstrations")
    human = _human(out)
    say(f"[2/6] {sizes.recorded} scripted demonstrations of the native lift task")
    recorded = _recorded(out, sizes.recorded)
    say(
        "[3/6] training on the human demonstrations: diffusion",
        f"      plain regression is trained and evaluated meanwhile; what it says is in {out / 'baseline.log'}",
    )
    with _beside(_human_policy, out / "baseline.log", out, human, sizes, "baseline", "regression"):
        a = _trained(out, human, sizes, "human", "diffusion")
        say("[4/6] training on the scripted demonstrations: diffusion")
        # With many demonstrations the policy is precise enough to be asked often; with seven it is steadier when
        # asked less often (chunk 8, the default): both were compared on starts that are not the evaluation's.
        often = {"plugin": "diffusion", "chunk": 4} | GAPS
        c = Imitation(str(recorded), often, {"steps": sizes.train_steps, "batch_size": 128}).run(out / "scripted")
        say("[5/6] evaluation from fresh starts, the same for all policies of a task")
        first = _evaluate(out / "evaluate" / "human", HUMAN, a, sizes.robosuite_starts, "diffusion")
        last = _evaluate(out / "evaluate" / "scripted", NATIVE, c, sizes.native_starts, "diffusion")
    results = [first, read_evaluation(out / "evaluate" / "baseline"), last]
    say(f"[6/6] staged improvement from {sizes.few} demonstrations: imitation, learning by trying, one step")
    improved = _improved(out / "improvement", recorded, sizes)
    report = _report(out, results, improved, quick=chosen.quick)
    for words, result in zip(
        ("on people, robosuite", "on people, robosuite", "scripted, native"), results, strict=True
    ):
        say(f"{result.label:<11} ({words}): {result.rate}")
    for result in improved:
        say(f"{result.label:<11} (native, from {sizes.few}): {result.rate}")
    say(f"Done in {(clock.now() - start) / 60:.1f} minutes. Report: {report}")
    return 0


@contextlib.contextmanager
def _beside(work: Callable[..., object], log: Path, *arguments: Any) -> Generator[None]:
    """Do some work in a process of its own until the block ends; both cores are busy, and nothing else changes.

    Raises:
        RobolearnError: The work failed; the file `log` says why.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("spawn").Process(target=_logged, args=(work, log, *arguments))
    process.start()
    try:
        yield
    except BaseException:
        process.terminate()  # a training saves and can be gone on with
        raise
    finally:
        process.join()
    if process.exitcode:
        raise RobolearnError(f"The work beside this has failed; {log} says why. Run the same command again.")


def _logged(work: Callable[..., object], log: Path, *arguments: Any) -> None:
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            work(*arguments)
        except BaseException:
            traceback.print_exc()  # now, while the file is open
            raise


def _trained(out: Path, human: Path, sizes: Sizes, name: str, plugin: str) -> Path:
    steps = {"steps": sizes.human_steps}
    return Imitation(str(human), {"plugin": plugin}, steps, split="train", validation="valid").run(out / name)


def _human_policy(out: Path, human: Path, sizes: Sizes, name: str, plugin: str) -> None:
    run = _trained(out, human, sizes, name, plugin)
    _evaluate(out / "evaluate" / name, HUMAN, run, sizes.robosuite_starts, plugin)


def _human(out: Path) -> Path:
    folder = out / "data" / "human"
    with Store.open_or_create(folder) as store:
        if not len(store):
            import_robomimic(get("lift-ph"), store)
        say(f"      {len(store)} episodes in {folder}")
    return folder


def _recorded(out: Path, episodes: int) -> Path:
    folder = out / "data" / "scripted"
    with Store.open_or_create(folder) as store:
        if missing := episodes - len(store):
            env: Env = plugins.from_dict("env", NATIVE | {"n": min(episodes, 20)}).build()
            try:
                record(store, env, plugins.load("expert", "lift")().build(env), missing, len(store), operator="expert")
            finally:
                env.close()
        if len(store) < episodes:
            raise RobolearnError(
                f"Expected {episodes} recorded episodes; found {len(store)}. Delete {folder} and retry."
            )
    return folder


def _evaluate(out: Path, env: Mapping[str, Any], run: Path, episodes: int, label: str) -> Evaluation:
    full = plugins.to_dict("env", plugins.from_dict("env", env))
    Evaluate(full, str(run), episodes, label=label, films=1).run(out)
    return read_evaluation(out)


def _improved(out: Path, store: Path, sizes: Sizes) -> list[Evaluation]:
    """A small version of launch/pipeline.py: few demonstrations, a few minutes of trying, one network evaluation."""
    policy = {"plugin": "diffusion", "horizon": 4, "chunk": 4, "width": 128, "sample_steps": 5} | GAPS
    ppo = {"minibatch": 512, "epochs": 3, "target_kl": 0.04, "learning_rate": 4e-5}
    stages = Improvement(
        str(store),
        NATIVE | {"n": 64, "threads": 2},
        policy,
        train={"steps": sizes.few_steps, "batch_size": 128},
        episodes=sizes.few,
        gated=False,
        online={
            "steps": sizes.tried_steps,
            "sigma_min": 0.08,
            "decisions": min(2048, sizes.tried_steps // 8),
            "ppo": ppo,
        }
        | {"reward": {"gamma": 0.997}, "again": 0.5},
        distill={"train": {"steps": sizes.distil_steps}, "decisions": min(6144, 3 * sizes.tried_steps // 8)},
        starts=sizes.native_starts,
        films=0,
    )
    stages.run(out)
    folders = [out / "evaluation" / name for name in ("imitation", "online_RL", "one_step", "exported")]
    return [read_evaluation(folder) for folder in folders]


def _report(out: Path, results: Sequence[Evaluation], improved: Sequence[Evaluation], *, quick: bool) -> Path:
    human, baseline, scripted = results
    difference = paired_difference(human.successes, baseline.successes)
    story = [
        "A robot arm has to pick up a red cube. Nobody programmed how: each policy here was trained only on "
        "demonstrations, and then tried from starting positions it had never seen.",
        "Two policies learned from the same seven recordings of people (published with robomimic) and were tried in "
        "robosuite. One imagines several actions at once and refines them step by step (diffusion), the other predicts "
        "one action directly (regression). A third learned from recordings of a scripted teacher in this project's own "
        "fast simulation.",
        "A fourth began with few recordings of that teacher, then learned by trying for a few minutes, and was at last "
        "distilled to a policy that decides in one evaluation of its network and runs without PyTorch.",
    ]
    if quick:
        story.insert(0, "This is the quick version: it only checks that everything works. Its figures mean nothing.")
    compared = paragraph(
        f"Diffusion minus regression, on the same {len(human.seeds)} starts: {difference}. Starts where only diffusion "
        f"succeeded: {difference.only_a}; only regression: {difference.only_b}."
    )
    shown: list[str] = []
    teachers = {"human": "people", "baseline": "people", "scripted": "the script"}
    for (name, teacher), result in zip(teachers.items(), results, strict=True):
        for path in sorted((out / "evaluate" / name / "films").glob("*.mp4")):
            shown.append(video(path, f"{result.label} taught by {teacher}: {path.stem.replace('_', ' ')}"))
    facts = {
        "environments": json.dumps([HUMAN, NATIVE]),
        "seed of starts": Evaluate.seed,
        "data": "robomimic 0.1.0 tests/assets/test.hdf5 (MIT), fetched by package name and checked by SHA-256",
    }
    stages = [(name, (out / name / "report.html").name, str(out / name)) for name in ("human", "baseline", "scripted")]
    sections = [
        Section("What this is", "".join(paragraph(text) for text in story)),
        *describe([human, baseline], "Trained on people, tried in robosuite"),
        Section("Is the difference real?", compared),
        *describe([scripted], "Trained on the scripted teacher, tried in the native simulation"),
        *describe(improved, "From few demonstrations: learning by trying, and one step"),
        Section("Films", films(shown)),
        Section("How this was made", provenance(facts) + table(("stage", "report", "folder"), stages)),
    ]
    lead = (
        f"Learned from seven human demonstrations: diffusion {human.rate}, plain regression {baseline.rate}. "
        f"Learned from a scripted teacher: diffusion {scripted.rate}."
    )
    return write_page(out / "report.html", "Learning to lift a cube from demonstrations", lead, sections)
