"""`robolearn train`: imitation of a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robolearn import plugins
from robolearn.cli import parse, say
from robolearn.learn.loop import TrainConfig
from robolearn.stages.imitation import Imitation


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a policy by imitation of a store's episodes. An interrupted run goes on when started again."""

    store: Path
    """Folder of the store."""
    out: Path
    """Folder of the run: checkpoints, metrics, report."""
    policy: str = "diffusion"
    """Which policy plugin; its fields follow as --policy.<field>."""
    split: str = ""
    """Use only episodes of this split; "" uses all."""
    validation: str = ""
    """Split of held-out episodes whose loss is logged; "" for none."""
    episodes: int = 0
    """Use only the first so many episodes; 0 uses all."""
    label: str = ""
    """Which command label a told policy learns from: aligned, commanded, hindsight or drop."""
    actors: tuple[str, ...] = ()
    """Whose actions to imitate, such as OPERATOR INTERVENTION: where people took over from a policy, what the policy
    did is not copied. () imitates everybody's."""
    train: TrainConfig = field(default_factory=TrainConfig)


def main(arguments: Sequence[str]) -> int:
    """Run the verb."""
    chosen: Any = parse(Train, arguments, prog="robolearn train", parts={"policy": "policy"})
    stage = Imitation(
        store=str(chosen.store),
        policy=plugins.to_dict("policy", chosen.policy_config),
        train=dataclasses.asdict(chosen.train),
        split=chosen.split,
        validation=chosen.validation,
        episodes=chosen.episodes,
        label=chosen.label,
        actors=chosen.actors,
    )
    out = stage.run(chosen.out)
    say(f"Trained policy: {out}", f"Report: {out / 'report.html'}")
    return 0
