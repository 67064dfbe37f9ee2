"""Bring YOLOv5 weights in from PyTorch, safetensors, NumPy and ONNX files, and out again."""

__version__ = "0.2.0"
