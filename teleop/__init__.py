"""Devices a person holds, and the adversary."""
