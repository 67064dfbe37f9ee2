"""COCO mAP of float and integer detectors, and what quantization cost."""

__version__ = "0.2.0"
