"""From pictures of a person to a reward and to a robot's joints: detect, lift, repair, retarget, learn."""
