"""Proven ranges: the interval that every tensor of a program can hold."""
