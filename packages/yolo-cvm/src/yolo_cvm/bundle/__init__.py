"""The bundle: a model in the layout that nodes share, with everything a chain asks about it."""

from yolo_cvm.bundle.accuracy import accuracy_table, nothing_found
from yolo_cvm.bundle.build import MANIFEST, announce, creation_date, tiers, write_bundle
from yolo_cvm.bundle.check import Passed, check_bundle
from yolo_cvm.bundle.manifest import Choices, unstated
from yolo_cvm.bundle.payload import NO_AUTHOR, InputMeta, ModelMeta, parse_address

__all__ = [
    "MANIFEST",
    "NO_AUTHOR",
    "Choices",
    "InputMeta",
    "ModelMeta",
    "Passed",
    "accuracy_table",
    "announce",
    "check_bundle",
    "creation_date",
    "nothing_found",
    "parse_address",
    "tiers",
    "unstated",
    "write_bundle",
]
