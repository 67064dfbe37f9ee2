"""Train YOLOv5 in MXNet: CPU, GPUs, several machines."""

__version__ = "0.1.0"
