"""Recorded signals of a robot with what was wrong in each row, as the monitor learns from them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from robolearn.errors import DataFileError
from robolearn.specs import Array

__all__ = ["FAULTS", "SIGNALS", "Recording", "read_recording"]

FAULTS = ("protective_stop", "grip_lost")
SIGNALS = (*(f"current_{j}" for j in range(6)), *(f"speed_{j}" for j in range(6)), "tool_current")
"""The measured values of one row, in A and rad/s."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Rows of a robot's signals with what was wrong in each.

    Attributes:
        times: (n,) seconds since the first row.
        signals: (n, 13) in the order of `SIGNALS`, NaN where a row is incomplete.
        temperatures: (n, 6) degrees Celsius.
        faults: Per name of `FAULTS` (n,) bool.
    """

    times: Array
    signals: Array
    temperatures: Array
    faults: Mapping[str, Array]

    def part(self, rows: slice) -> Recording:
        """Some consecutive rows."""
        faults = {name: value[rows] for name, value in self.faults.items()}
        return Recording(self.times[rows], self.signals[rows], self.temperatures[rows], faults)


def read_recording(path: Path) -> Recording:
    """Read a table in the layout of the UR3 CobotOps dataset (';' between columns, ',' as decimal mark).

    Raises:
        DataFileError: Missing file or columns, or a cell that is no number.
    """
    if not path.is_file():
        raise DataFileError(f"There is no recording {path}. Get the UR3 CobotOps dataset (doi 10.24432/C5J891).")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [
            {(key or "").strip(): value for key, value in row.items()} for row in csv.DictReader(file, delimiter=";")
        ]
    currents = [f"Current_J{j}" for j in range(6)]
    speeds = [f"Speed_J{j}" for j in range(6)]
    # The dataset calls the first joint's temperature T0.
    temperatures = ["Temperature_T0", *(f"Temperature_J{j}" for j in range(1, 6))]
    needed = ["Timestamp", *currents, *speeds, "Tool_current", *temperatures, "Robot_ProtectiveStop", "grip_lost"]
    if not rows or (missing := [name for name in needed if name not in rows[0]]):
        raise DataFileError(
            f"{path} lacks the columns {missing if rows else needed}. Expected the UR3 CobotOps layout."
        )

    def table(names: list[str]) -> Array:
        try:
            return np.array(
                [[float(row[n].replace(",", ".")) if row[n].strip() else np.nan for n in names] for row in rows]
            )
        except ValueError as error:
            raise DataFileError(
                f"{path} has a cell that is no number: {error}. Expected ',' as decimal mark."
            ) from error

    try:
        seconds = np.array([datetime.fromisoformat(row["Timestamp"].strip('"')).timestamp() for row in rows])
    except ValueError as error:
        raise DataFileError(f"{path} has a bad time stamp: {error}. Expected 2022-10-26T08:17:21.847Z.") from error
    flags = {"protective_stop": "Robot_ProtectiveStop", "grip_lost": "grip_lost"}
    return Recording(
        times=seconds - seconds[0],
        signals=table([*currents, *speeds, "Tool_current"]),
        temperatures=table(temperatures),
        faults={
            name: np.array([row[column].strip().lower() == "true" for row in rows]) for name, column in flags.items()
        },
    )
