"""Diffusion as pure functions: schedules, steps, samplers."""
