"""Figures in words, charts and pages."""
