"""What every stage of integer YOLOv5 shares, from the architecture to the integer graph."""

__version__ = "0.2.0"
