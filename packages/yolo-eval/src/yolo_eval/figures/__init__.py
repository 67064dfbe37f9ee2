"""Figures of runs and of pairs of runs. Nothing is drawn here."""
