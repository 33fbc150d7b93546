"""What is to be done: the facts of a task that a recording, a policy and a report need to share."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as people and programs name it.

    Attributes:
        name: Short identifier, such as "lift".
        instruction: What a person would be told, in plain words.
        rate_hz: Control decisions per second.
        horizon: Most decisions in one episode; reaching it ends the episode as a timeout.
        robot: Which robot does it, such as "panda".
    """

    name: str
    instruction: str
    rate_hz: float
    horizon: int
    robot: str = ""
