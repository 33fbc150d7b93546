"""Learned sorters and pourers on simulated robots: environment, policy, and how an episode is judged.

What the policies need to know of a task - where places are, how large a bottle is - is read here from the task's own
scene, so that it is written down once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robolearn.contracts import Env
from robolearn.episode import Episode, Outcome
from robolearn.keypoints.arm_maps import find_arm_map
from robolearn.keypoints.deeds import Decide, poured_well
from robolearn.keypoints.execution import Places, WatchedSorter
from robolearn.keypoints.pourer import Vessels, WatchedPourer
from robolearn.specs import Array
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain
from sim.tasks.pour import PourConfig
from sim.tasks.pour_scene import BOTTLE_M, BOWL_M, BOWLS, caught, contents, in_crate, told
from sim.tasks.sort_onions import HIGH_M, LOW_M
from sim.tasks.sort_onions_places import BIN, CONVEYOR, EYE_M, ONIONS, on_place, slots

__all__ = ["VESSELS", "judge_pouring", "judge_sorting", "watched_pourer", "watched_sorter"]

GRASP_M = 0.075
"""Height above the bottle's bottom at which robots take it."""
VESSELS = Vessels("bottle", BOWLS, BOTTLE_M[0], BOTTLE_M[2], GRASP_M, BOWL_M[1], BOWL_M[0])


def watched_sorter(env: Env, robot: str, decide: Decide, arm_fit: Array) -> WatchedSorter:
    """A sorter for `sort_onions` with joint targets.

    Args:
        env: The rows.
        robot: Whose arm it is.
        decide: The learned policy.
        arm_fit: Elbow and shoulder of the person's wrist (`onions.fit_arm`).
    """
    bin_, conveyor = (
        np.column_stack([slots(place), np.full(5, height)]) for place, height in ((BIN, 0.085), (CONVEYOR, 0.065))
    )
    places = Places(LOW_M, HIGH_M, EYE_M, bin_, conveyor)
    return WatchedSorter(
        env, decide, robot_chain(ROBOTS[robot]), find_arm_map(robot).upright(), arm_fit, places, ONIONS
    )


def judge_sorting(episode: Episode) -> dict[str, Any]:
    """Whether every onion lies where it belongs, and which share was put away at all."""
    last = np.stack([episode.observations[f"{name}.position"][-1] for name in ONIONS])
    away = on_place(last, BIN) | on_place(last, CONVEYOR)
    return {"wins": episode.outcome is Outcome.SUCCESS, "done": float(away.mean())}


def watched_pourer(env: Env, robot: str, decide: Decide, arm_fit: Array) -> WatchedPourer:
    """A pourer for `pour` with joint targets; arguments as for `watched_sorter`."""
    chain = robot_chain(PourConfig(robot=robot).sim_task().robot)
    return WatchedPourer(env, decide, chain, find_arm_map(robot).upright(), arm_fit, VESSELS)


def judge_pouring(episode: Episode) -> dict[str, Any]:
    """The specification's mark ("wins") and the task's own ("task"), with the shares of beads behind them.

    "done" lie in the bowl that was asked for in the end; "spilled" lie neither there nor in the bottle, which counts
    the wrong bowl.
    """
    last = {name: array[-1:] for name, array in episode.observations.items()}
    right = caught(last[f"{BOWLS[int(told(last)[0])]}.position"], last["beads.position"])
    inside = contents(last["bottle.position"], last["bottle.quaternion"], last["beads.position"])
    away = in_crate(last["bottle.position"], last["bottle.quaternion"], last["crate.place"])
    done, spilled = right.mean(axis=1), (~right & ~inside).mean(axis=1)
    return {
        "wins": bool(poured_well(done, spilled, away)[0]),
        "task": episode.outcome is Outcome.SUCCESS,
        "away": bool(away[0]),
        "done": float(done[0]),
        "spilled": float(spilled[0]),
    }
