"""Policies: what decides. Empty on purpose, so that a robot PC can import `policies.remote` without torch."""
