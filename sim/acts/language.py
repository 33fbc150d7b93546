"""SET_CMD: another command in the middle of an episode, for tasks that can be told several things."""

from __future__ import annotations

from collections.abc import Mapping

from robolearn.errors import UnknownName
from sim.acts.act import Act, Answer, Request, Scene
from sim.task import Instructed

__all__ = ["Language"]


class Language:
    """Writes a row's fact "task.command"; the task makes of it what the robot sees."""

    def __init__(self, scene: Scene):
        self._scene = scene

    def acts(self) -> Mapping[str, Act]:
        return {"SET_CMD": Act(self._command, budget="language")} if isinstance(self._scene.task, Instructed) else {}

    def _command(self, request: Request) -> Answer:
        task = self._scene.task
        assert isinstance(task, Instructed)
        if request.instruction not in task.instructions:
            raise UnknownName("instruction", request.instruction, task.instructions)
        told = self._scene.facts["task.command"][request.row]
        index = task.instructions.index(request.instruction)
        if told[index]:
            return Answer(reason="this is the command already")
        told[:] = 0
        told[index] = 1
        return Answer()
