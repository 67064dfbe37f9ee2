"""What the chain charges and allows: uploads, calls, royalties (spec 5.2 and 7.4).

Numbers of the protocol and the arithmetic over them; nothing here knows a file.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes that one push moves at most, and the gas such a transaction uses, exactly.
PUSH_BYTES = 512 << 10
PUSH_GAS = 277_777
#: Blocks between the creation of a model and its first push.
SEEDING_BLOCKS = 6
#: Bytes per block that all uploads of the main network share.
QUOTA_BYTES_PER_BLOCK = 65_536
#: Blocks between the last push and the first call.
MATURE_BLOCKS = {"mainnet": 100, "bernard": 10, "dolores": 1}
#: Largest RawSize of a model.
MAX_RAW_SIZE = 1 << 30
#: A model that asks more gas per call can be created but never called.
MAX_ROYALTY = 20_000
#: Longest code that an account holds; a model's payload is stored as code.
MAX_CODE_BYTES = 24_576
#: Operations of the model that one unit of gas pays for.
OPS_PER_GAS = 20_000
#: Least gas of a call by INFERARRAY.
INFERARRAY_FLOOR = 1_000_000
#: Most gas of one transaction.
TRANSACTION_GAS_CAP = 1 << 24


#: Bytes of a word of a contract's memory.
WORD_BYTES = 32


@dataclass(frozen=True)
class CallCost:
    """Gas of one call; whatever else the contract does comes on top.

    infer, inferarray: of the opcode, royalty included. output_memory: of the contract's memory
    that receives the output. both_memory: of a memory that holds output and input together, where
    a contract builds its picture there; the square makes it more than the sum of both.
    """

    infer: int
    inferarray: int
    output_memory: int = 0
    both_memory: int = 0

    @property
    def call(self) -> int:
        """A call by INFERARRAY with the memory of its output; INFER costs no more."""
        return self.inferarray + self.output_memory

    @property
    def call_with_input(self) -> int:
        """The same where the contract builds the input in memory too."""
        return self.inferarray + self.both_memory

    @property
    def fits(self) -> bool:
        """Whether one call by either opcode, output received, stays within a transaction's cap."""
        return self.call <= TRANSACTION_GAS_CAP

    @property
    def fits_with_input(self) -> bool:
        """Whether it does so with the input in memory too."""
        return self.call_with_input <= TRANSACTION_GAS_CAP


def memory_gas(size: int) -> int:
    """Gas of a contract's memory of so many bytes: 3 w + floor(w^2 / 512) for w words."""
    words = -(-size // WORD_BYTES)
    return 3 * words + words * words // 512


def call_cost(
    model_gas: int, royalty: int, output_bytes: int = 0, input_bytes: int = 0
) -> CallCost:
    """What a call costs. model_gas: the graph's gas (spec 5.1); royalty: gas per call."""
    compute = model_gas // OPS_PER_GAS
    return CallCost(
        compute + royalty,
        max(compute, INFERARRAY_FLOOR) + royalty,
        memory_gas(output_bytes),
        memory_gas(output_bytes + input_bytes),
    )


def push_count(raw_size: int) -> int:
    """Transactions that upload `raw_size` bytes."""
    return -(-raw_size // PUSH_BYTES)


def quota_blocks(raw_size: int) -> int:
    """Blocks of the main network whose whole upload quota `raw_size` bytes take."""
    return -(-raw_size // QUOTA_BYTES_PER_BLOCK)
