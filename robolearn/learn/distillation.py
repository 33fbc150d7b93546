"""A one-step student of a denoising teacher: the teacher's paths, and a student that learns beside it.

Source: consistency distillation and same-noise regression as in RL-100 (arXiv 2510.14830); the losses are the student's
(`policies.consistency`). Teacher and student start from the same noise, and the teacher's path is the noise-free one
that is deployed, so the student learns a function and not a distribution.

Shapes: B batch, K steps, H horizon, A numbers per action, C condition.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robolearn import plugins
from robolearn.learn.chain_policy import ChainModel, sample_actions, to_numpy
from robolearn.learn.ema import Ema
from robolearn.learn.model import Model
from robolearn.specs import Array

__all__ = ["JointStudent", "Paths", "build_student", "teacher_paths"]


@torch.no_grad()
def teacher_paths(teacher: ChainModel, condition_BC: Tensor, generator: torch.Generator) -> Tensor:
    """(B, K + 1, H, A) noise-free paths of the teacher from fresh noise to actions."""
    return sample_actions(teacher, condition_BC, generator, deterministic=True).states_BK


class Paths:
    """`loop.Windows` of teacher's paths: each condition with `draws` of them.

    Args:
        teacher: Whose.
        condition: (N, C) of states where it matters, those a policy visits.
        draws: Paths per condition.
        seed: Of their noise.
        fingerprint: Of the conditions and the teacher.
    """

    def __init__(self, teacher: ChainModel, condition: Array, draws: int, seed: int, fingerprint: str = ""):
        generator = torch.Generator().manual_seed(seed)
        self._condition = np.repeat(np.asarray(condition, np.float32), draws, axis=0)
        parts = [self._condition[first : first + 4096] for first in range(0, len(self._condition), 4096)]
        self._path = np.concatenate([to_numpy(teacher_paths(teacher, torch.as_tensor(p), generator)) for p in parts])
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self._path)

    def gather(self, indices: Array) -> dict[str, Array]:
        """{"condition": (b, C), "path": (b, K + 1, H, A)}."""
        return {"condition": self._condition[indices], "path": self._path[indices]}


def build_student(teacher: Any, *, method: str, target_decay: float) -> tuple[Any, dict[str, Any]]:
    """A student with the teacher's network and weights, and the dict form of its config.

    Args:
        teacher: A chain policy (see `chain_policy.load_chain`).
        method: "same_noise", "consistency" or "both".
        target_decay: Of the consistency loss's target; 0 for a student that only acts.
    """
    config = student_config(teacher, method=method, target_decay=target_decay)
    student: Any = config.build(teacher.observation_spec, teacher.action_spec, teacher.statistics)
    with torch.no_grad():
        # Its own buffers stay: steps and schedule are not the teacher's to give.
        student.denoiser.load_state_dict(teacher.denoiser.state_dict())
        student.encoder.load_state_dict(teacher.encoder.state_dict())
        if student.target is not None:
            student.target.load_state_dict(teacher.denoiser.state_dict())
    return student, plugins.to_dict("policy", config)


def student_config(teacher: Any, *, method: str, target_decay: float) -> Any:
    """The config of a student of this teacher."""
    cls = plugins.load("policy", "consistency")
    shared = {f.name for f in dataclasses.fields(cls)} & {f.name for f in dataclasses.fields(teacher.config)}
    fields = {name: getattr(teacher.config, name) for name in shared}
    # Dropout would only blur what a student is to copy.
    fields |= {"dropout": 0.0, "steps": tuple(update.step for update in teacher.plan.updates)}
    return cls(**fields, method=method, target_decay=target_decay)


class JointStudent:
    """A student that learns while the teacher does.

    Args:
        teacher: The policy in training.
        method: See `build_student`.
        rate: Learning rate.
        generator: Noise of paths and links.
        decay: Of the consistency loss's target.
    """

    def __init__(self, teacher: Any, method: str, rate: float, generator: torch.Generator, decay: float = 0.95):
        self.student, _ = build_student(teacher, method=method, target_decay=decay)
        self.student.train()
        self.optimizer = torch.optim.Adam(
            [p for p in self.student.parameters() if p.requires_grad], lr=rate, fused=True
        )
        self._ema = Ema(self.student, maximum=0.999)
        self._teacher, self._generator = teacher, generator
        self.steps = 0

    def step(self, condition_BC: Tensor) -> Mapping[str, Tensor]:
        """One optimiser step towards the teacher as it is now; returns what to log."""
        path = teacher_paths(self._teacher, condition_BC, self._generator)
        loss, found = self.student.loss({"condition": condition_BC, "path": path}, self._generator)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        self._ema.update(self.steps)
        self.steps += 1
        return found

    def acting(self) -> tuple[Model, dict[str, Any]]:
        """The averaged student without a target, and its config: what is deployed."""
        model, described = build_student(self._teacher, method=self.student.config.method, target_decay=0.0)
        weights = self.student.state_dict() | self._ema.average
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
        return model.eval(), described
