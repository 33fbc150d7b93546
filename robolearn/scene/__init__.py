"""What observations say of a scene: things, phases, labels, density."""
