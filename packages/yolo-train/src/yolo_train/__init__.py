"""Train YOLOv5 in MXNet: CPU, GPUs, several machines."""

__version__ = "0.2.0"
