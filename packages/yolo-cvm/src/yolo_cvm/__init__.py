"""Deterministic CVM runtime: the same integers on every machine, and the bundle builder.

import yolo_cvm

model = yolo_cvm.load("model")          # a folder with the files symbol and params
outputs = model.run(x)                  # integers in, one int32 array per head out
"""

from yolo_cvm.model import Model, load
from yolo_cvm.pictures import decode, encode

__version__ = "0.2.0"

__all__ = ["Model", "decode", "encode", "load"]
