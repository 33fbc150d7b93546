"""The map on the adversary's page: what counts, where the gaps are."""

import numpy as np
import pytest

from teleop.console.coverage import AREA, CELLS, Visits, coverage

LOW, HIGH = np.array(AREA)
COMMANDS = ("Put the plum into the bowl.", "Put the plum into the box.", "Put the fig into the bowl.")
NOTHING = np.zeros((0, 2))


def made(*episodes):
    return coverage(episodes, objects=("plum", "fig"), containers=("bowl", "box"), commands=COMMANDS)


def test_places_are_counted_in_their_cells_and_only_on_the_table():
    spot = LOW + (np.array([1, 2]) + 0.5) / CELLS * (HIGH - LOW)
    found = made(Visits(np.array([spot, spot, LOW - 0.1]), ()))
    assert found.grid[1, 2] == 2
    assert found.grid.sum() == 2


def test_pairs_are_counted_once_an_episode_and_what_nobody_can_ask_for_is_no_gap():
    found = made(Visits(NOTHING, (COMMANDS[0], COMMANDS[0])), Visits(NOTHING, (COMMANDS[0],)))
    np.testing.assert_array_equal(found.pairs, [[2, 0], [0, -1]])


def test_the_least_visited_cell_is_empty_and_far_from_the_others():
    corner = LOW + 0.5 / np.array(CELLS) * (HIGH - LOW)
    found = made(Visits(corner[None], ()))
    cell = np.floor((found.least - LOW) / (HIGH - LOW) * CELLS).astype(int)
    assert found.grid[tuple(cell)] == 0
    assert found.least == pytest.approx(HIGH - 0.5 / np.array(CELLS) * (HIGH - LOW))
