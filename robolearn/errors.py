"""Every error a user can meet, each built from facts.

A message says what was expected, what was found, what is possible and what to do. `RobolearnError` is
the family a command line turns into one paragraph and a non-zero exit code; anything else is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArtefactError",
    "BadEpisode",
    "BenchError",
    "CheckpointMismatch",
    "DataFileError",
    "EmptyStore",
    "MissingDependency",
    "RobolearnError",
    "SafetyFault",
    "ShadowedPackage",
    "SimulationFault",
    "SpecError",
    "StaleReading",
    "StorageFull",
    "StoreError",
    "TrainingFault",
    "UnknownName",
    "closest",
]


class RobolearnError(Exception):
    """A mistake or a fault that has a name and a cure.

    Attributes:
        exit_code: What a command line ends with.
    """

    exit_code = 1


class SpecError(RobolearnError):
    """Arrays do not match their spec, or two specs differ."""


class BadEpisode(RobolearnError):
    """An episode's arrays do not fit together."""


class DataFileError(RobolearnError):
    """A data file is missing, damaged or has the wrong content."""


class StoreError(RobolearnError):
    """A dataset store cannot do what was asked."""


class EmptyStore(StoreError):
    """There is nothing to train on."""


class StorageFull(RobolearnError):
    """The disk is full; what was saved before stays valid."""


class ArtefactError(RobolearnError):
    """A run folder or checkpoint is missing, unfinished or was made from something else."""


class CheckpointMismatch(ArtefactError):
    """A checkpoint was made for other observations or actions than the environment has."""


class TrainingFault(RobolearnError):
    """Training cannot go on (non-finite losses, say)."""


class SimulationFault(RobolearnError):
    """The simulator reported a warning that would have been hidden."""


class SafetyFault(RobolearnError):
    """The safety gate has latched; a person must clear it."""


class BenchError(RobolearnError):
    """A bench is described wrongly or a device does not answer."""


class StaleReading(RobolearnError):
    """A device has not delivered anything new for too long."""


class MissingDependency(RobolearnError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, needed_for: str):
        super().__init__(
            f"{needed_for} needs the package {package!r}, which is not installed. "
            f'Install it with: pip install -e ".[{extra}]" -c constraints.txt'
        )


class ShadowedPackage(RobolearnError):
    """A foreign package has the name of one of ours."""

    def __init__(self, name: str, found: str, expected: str):
        super().__init__(
            f"The package {name!r} on the import path is not ours: expected it below {expected}, found {found}. "
            f"Another installed distribution shadows it. Uninstall that distribution (pip uninstall {name}) "
            "or use a virtual environment of its own for this project (make .venv)."
        )


class UnknownName(RobolearnError):
    """A name that is not in the list of valid ones."""

    def __init__(self, kind: str, name: str, valid: Iterable[str], *, hint: str = ""):
        names = sorted(valid)
        guess = closest(name, names)
        message = f"Unknown {kind} {name!r}."
        if guess:
            message += f" Did you mean {guess!r}?"
        message += f" Valid names: {', '.join(names) if names else 'none'}."
        if hint:
            message += f" {hint}"
        super().__init__(message)
        self.closest = guess


def closest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name most like `name`, or None when nothing is near."""
    found = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return found[0] if found else None
