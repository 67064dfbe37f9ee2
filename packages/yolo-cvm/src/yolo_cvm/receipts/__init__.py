"""Receipts: proof of what was computed, that anyone can check by computing it again.

The format is described in docs/receipt.md. A receipt speaks of integers only: it is the same,
byte for byte, for every engine, thread count, machine and library version.
"""

from yolo_cvm.receipts.compare import first_difference, verify
from yolo_cvm.receipts.digests import tensor_digest, tensor_root
from yolo_cvm.receipts.reader import AnyReceipt, read_receipt, receipt_from
from yolo_cvm.receipts.record import NodeDigest
from yolo_cvm.receipts.version_1 import ReceiptVersion1
from yolo_cvm.receipts.version_2 import Receipt, run_with_receipt

__all__ = [
    "AnyReceipt",
    "NodeDigest",
    "Receipt",
    "ReceiptVersion1",
    "first_difference",
    "read_receipt",
    "receipt_from",
    "run_with_receipt",
    "tensor_digest",
    "tensor_root",
    "verify",
]
