"""Disputes: who computed wrongly, decided from one operator and without the model.

Two receipts of one model and input part at one first node. `claim` narrows the dispute to 256
elements of that node's result by a few short messages, `witness` shows what one of them depends
on, and `judge` computes that element again. Receipts that part in which nodes they list, in their
heads or their gas are judged by all records of the model. The formats and the game are in
docs/witness.md.
"""

from yolo_cvm.dispute.claim import Claim, first_claim, next_claim, read_claim
from yolo_cvm.dispute.element import Operation, element
from yolo_cvm.dispute.judge import Verdict, judge
from yolo_cvm.dispute.model_witness import (
    ModelVerdict,
    ModelWitness,
    judge_file,
    judge_model,
    make_model_witness,
    read_model_witness,
)
from yolo_cvm.dispute.observe import NodeRun, observe_node
from yolo_cvm.dispute.witness import Witness, make_witness, read_witness

__all__ = [
    "Claim",
    "ModelVerdict",
    "ModelWitness",
    "NodeRun",
    "Operation",
    "Verdict",
    "Witness",
    "element",
    "first_claim",
    "judge",
    "judge_file",
    "judge_model",
    "make_model_witness",
    "make_witness",
    "next_claim",
    "observe_node",
    "read_claim",
    "read_model_witness",
    "read_witness",
]
