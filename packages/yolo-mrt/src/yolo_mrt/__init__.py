"""Quantize a YOLOv5 checkpoint to an integer-only CVM model by the MRT method."""

__version__ = "0.2.0"
