"""Stages: imitation, evaluation and what follows them, one per file."""
