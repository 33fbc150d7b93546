"""Does disturbing demonstrations on purpose make better ones? Adversarial collection against its missing control.

robolearn run launch/adc_study.py [--quick] [--out runs/adc] [--seeds 0 1 2 3 4] [--starts 100] [--processes 2]
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from robolearn.stages.adc_report import write_report
from robolearn.stages.adc_study import PIXELS, QUICK, STATE, Job, Study, python


@dataclass(frozen=True)
class Arguments:
    """Record demonstrations in seven ways, train a policy on each, measure all of them in the same cells."""

    out: Path = Path("runs/adc")
    """Folder of stores, runs, measurements and the report."""
    arms: tuple[str, ...] = ("A", "R", "T", "A-rand", "V", "L", "D")
    """Which ways of recording; possible too: A-learn, and R-dark on the pixel track."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each has demonstrations and a policy of its own."""
    shares: tuple[int, ...] = (20, 50)
    """Shares of the frames, in percent, that A and R are also trained on."""
    starts: int = 0
    """Starts of every cell; 0 for the track's own number."""
    track: Literal["state", "pixels"] = "state"
    """What the policies see: poses, or pictures."""
    processes: int = 2
    """Policies worked on at the same time."""
    job: str = ""
    """Work on this one only and write no report."""
    report: bool = False
    """Only write the report, of what is there."""
    quick: bool = False
    """A small version that checks the machinery; its figures mean nothing."""


def study_of(a: Arguments) -> Study:
    """The study that the arguments ask for."""
    sizes = QUICK if a.quick else PIXELS if a.track == "pixels" else STATE
    sizes = dataclasses.replace(sizes, starts=a.starts or sizes.starts)
    arms, seeds, shares = (("A", "R", "T"), (0,), (50,)) if a.quick else (a.arms, a.seeds, a.shares)
    return Study(a.out, sizes, arms, seeds, shares)


def main(a: Arguments) -> None:
    """Run the study; what is finished in its folder is not done again."""
    study = study_of(a)
    if a.job:
        study.work(Job.read(a.job))
        return
    if a.quick and not a.report:  # so little work that starting Python for each policy would be most of it
        for job in study.jobs:
            study.work(job)
            print(f"{job}: done", flush=True)
    elif not a.report:
        options = ["--out", str(a.out), "--starts", str(a.starts), "--track", a.track]
        command = [*python(), "run", __file__, *options, "--job"]
        study.run(command, a.processes, lambda text: print(text, flush=True))
    print("Report:", write_report(study))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=Arguments.__doc__))
