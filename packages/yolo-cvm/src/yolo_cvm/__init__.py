"""Deterministic CVM runtime: the same integers on every machine, and the bundle builder."""

__version__ = "0.1.0"
