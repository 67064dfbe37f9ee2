"""What every stage of integer YOLOv5 shares: architecture, checkpoint, letterbox, boxes, and the integer graph."""

__version__ = "0.1.0"
