"""Drivers for real arms, grippers and cameras, and their fakes."""
