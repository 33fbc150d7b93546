"""A robot is drawn where its kinematics says it is, also when it is bolted on its side."""

import numpy as np
import pytest

from robolearn.keypoints.arm_maps import find_arm_map
from sim.human.beside import retargeted

K = np.array([[579.4, 0.0, 319.5], [0.0, 579.4, 239.5], [0.0, 0.0, 1.0]])  # 45 degrees over 480 rows
POSE = np.array([[0.0, 0.0, -1.0, 2.4], [1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.2], [0.0, 0.0, 0.0, 1.0]])
T = np.linspace(0.0, 1.0, 6)[:, None]
SHOULDER = np.tile([0.4, -0.15, 1.36], (6, 1))
ELBOW = SHOULDER + 0.3 * np.concatenate([0.3 + 0.2 * T, -0.2 * np.ones_like(T), -0.9 * np.ones_like(T)], axis=1)
WRIST = ELBOW + 0.24 * np.concatenate([0.8 * np.ones_like(T), 0.3 * T, -0.5 + 0.3 * T], axis=1)


@pytest.mark.parametrize("robot", ["sawyer", "iiwa"])
def test_the_drawn_arm_is_where_its_points_are(robot):
    arms = np.stack([SHOULDER, ELBOW, WRIST], axis=1)
    name, pictures, pixels = retargeted(robot, arms, np.array([0, 5]), (K, POSE))
    assert name == robot
    assert pictures.shape == (2, 480, 640, 3)
    for picture, points in zip(pictures, pixels, strict=True):
        drawn = (picture < 245).any(axis=-1)
        assert 0.01 < drawn.mean() < 0.5
        for x, y in np.round(points).astype(int)[:2]:  # shoulder and elbow lie inside the arm
            assert drawn[y - 4 : y + 5, x - 4 : x + 5].mean() > 0.5
        x, y = np.round(points[2]).astype(int)  # the tool point is between the fingers
        assert drawn[y - 25 : y + 26, x - 25 : x + 26].any()
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() > 50, "it moves"
    assert find_arm_map(robot).exact
