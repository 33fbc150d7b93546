"""One training loop, losses, checkpoints."""
