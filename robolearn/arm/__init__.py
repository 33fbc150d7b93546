"""An arm as a chain of joints: kinematics, frames, task space."""
