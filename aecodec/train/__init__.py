"""One training loop for every family: its settings, its state, its curve, and weights trained elsewhere."""
