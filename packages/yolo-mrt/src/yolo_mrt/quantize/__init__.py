"""From a scheme to integer weights: rounding, and the effort spent on it."""
