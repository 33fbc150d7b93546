"""Disturbances as typed acts: what an adversary may do to a scene, each executed as a person could have done it.

One module per family: `objects` (hands that drag), `language`, `arm` (pushes, slips, late commands), `look` (light,
table, camera), `clutter` (distractors), `bodies` (friction and mass at the start) and `sensing` (noise).
`sim.perturbations` puts them into one table from kind to function and keeps each episode's budget.
"""
