"""Run files: what a model predicted on which ground truth, and how it is obtained."""
