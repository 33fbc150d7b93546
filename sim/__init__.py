"""Batched MuJoCo worlds, tasks, experts, devices and adapters."""
