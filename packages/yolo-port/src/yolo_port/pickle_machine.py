"""A pickle reader that runs nothing: opcodes in, inert records out.

Written by hand because weights come from strangers.
Python's own unpickler imports what the file names and calls it. This machine knows the opcodes
that `pickle` and PyTorch write (protocols 2 to 5), builds plain values, and where the file asks
for a global it asks `admit`, which refuses everything that is not on the caller's list. What is
admitted still is not looked up: a call becomes a `Record` that only remembers what was asked.

Nothing here may import, call or look up anything that a file names.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from yolo_core.errors import InputError

#: Bounds time and memory; a yolov5x in training (model, averaged weights, Adam) has 200,000.
MAX_OPCODES = 300_000
#: Longest integer of a file, in bytes: 64 bits and the sign.
MAX_INTEGER_BYTES = 9
#: Longest name of a global.
MAX_GLOBAL_NAME = 256
#: Bytes of a pickle that are scanned for names alone.
SCAN_LIMIT = 64 << 10


@dataclass(frozen=True)
class Global:
    """A name that the file refers to; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """A call or a new object that the file asks for, written down and not carried out.

    function: what was to be called. arguments: with what. state: what was to be set on it
    (`BUILD`). pairs, elements: what was to be put in (`SETITEMS`, `APPENDS`, `ADDITEMS`).
    """

    function: Global
    arguments: tuple[Any, ...]
    state: Any = None
    pairs: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


#: Deepest nesting of dictionaries that stand around one another.
_MAX_WRAPPED = 4


def mapping(value: Any, depth: int = _MAX_WRAPPED) -> dict[Any, Any] | None:
    """A dictionary of the pickle, of any class that is one, as a plain one; None for others."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, Record) or depth == 0:
        return None
    state = value.state if isinstance(value.state, dict) else {}
    if value.function.name in ("UserDict", "IterableUserDict"):
        return mapping(state.get("data"), depth - 1)
    if value.function.name == "ChainMap" and isinstance(state.get("maps"), list):
        found: dict[Any, Any] = {}
        for each in reversed(state["maps"]):  # the first counts
            found.update(mapping(each, depth - 1) or {})
        return found
    if value.pairs or value.function.name in ("OrderedDict", "defaultdict"):
        return value.pairs
    return None


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to something outside the pickle; in PyTorch files, a storage."""

    identity: Any


#: Called with every global of the file. True: the file may ask to call it; False: it may only
#: refer to it; InputError for one that is not allowed.
Admit = Callable[[Global], bool]

_MARK = object()


def read_pickle(
    data: bytes | memoryview,
    source: str,
    admit: Admit,
    refer: Callable[[Any], Any] = Persistent,
) -> tuple[Any, int]:
    """The inert value of one pickle, and the number of bytes it takes.

    source: what to call the file in errors. refer: what a reference to something outside the
    pickle becomes, from its identity. InputError for a refused global, an opcode that
    checkpoints do not use, a truncated or malformed stream, or one too long.
    """
    machine = _Machine(memoryview(data).cast("B"), source, admit, refer)
    return machine.run(), machine.position


def named_globals(data: bytes | memoryview) -> Iterator[Global]:
    """The globals that a file of any pickle protocol names near its beginning, for messages.

    A scan, not a reading: it knows the opcodes that `read_pickle` refuses, follows no memo, and
    ends in silence where the data stop making sense.
    """
    stream = io.BytesIO(data[:SCAN_LIMIT])
    texts = ["", ""]
    try:
        # A PyTorch file of before 1.6 is several pickles in a row.
        while stream.tell() < len(data):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    yield Global(*str(argument).split(" ", 1))
                elif opcode.name == "STACK_GLOBAL":
                    yield Global(*texts[-2:])
                elif isinstance(argument, str):
                    texts.append(argument)
    except ValueError:
        return


class _Machine:
    """The stack machine: one method per opcode, found in `_OPCODES`."""

    def __init__(
        self, data: memoryview, source: str, admit: Admit, refer_outside: Callable[[Any], Any]
    ) -> None:
        self.data = data
        self.source = source
        self.admit = admit
        self.refer_outside = refer_outside
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.admitted: dict[tuple[str, str], Global] = {}
        self.only_named: set[Global] = set()

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            code = self.take(1)[0]
            method = _OPCODES.get(code)
            if method is None:
                raise self.unknown(code)
            if code == _STOP:
                value = self.pop()
                if self.stack:
                    raise self.error("leaves values on the pickle stack")
                return value
            method(self)
        raise self.error(f"has more than {MAX_OPCODES} pickle opcodes")

    # What the opcodes are made of.

    def error(self, cause: str) -> InputError:
        return InputError(self.source, f"{cause} (at byte {self.position} of its pickle)")

    def unknown(self, code: int) -> InputError:
        """What to say of an opcode off the list; a global that the file is after comes first."""
        for reference in named_globals(self.data):
            self.admit(reference)
        names = [opcode.name for opcode in pickletools.opcodes if opcode.code == chr(code)]
        name = names[0] if names else f"0x{code:02x}"
        return self.error(f"uses the pickle opcode {name}, which is not on the list")

    def take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self.data):
            raise self.error("ends in the middle of its pickle")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, count: int) -> str:
        try:
            # Python's pickle writes lone surrogates this way; they stay harmless text.
            return str(self.take(count), "utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise self.error("holds text that is not UTF-8") from error

    def line(self) -> str:
        rest = bytes(self.data[self.position : self.position + MAX_GLOBAL_NAME])
        end = rest.find(b"\n")
        if end < 0:
            raise self.error("holds a global name without an end")
        text = self.text(end)
        self.position += 1
        return text

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise self.error("takes from an empty pickle stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        raise self.error("takes to a mark that is not there")

    def top(self) -> Any:
        value = self.pop()
        self.push(value)
        return value

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise self.error(f"recalls memo {index}, which it never set")
        self.push(self.memo[index])

    def integer(self, count: int) -> int:
        if count > MAX_INTEGER_BYTES:
            raise self.error(f"holds an integer of {count} bytes")
        return int.from_bytes(self.take(count), "little", signed=True)

    def put_pairs(self, target: Any, values: list[Any]) -> None:
        if isinstance(target, Record):
            target = target.pairs
        if not isinstance(target, dict) or len(values) % 2:
            raise self.error("sets items on what is not a dictionary")
        for key, value in zip(values[::2], values[1::2]):
            target[self.checked_key(key)] = value

    def checked_key(self, key: Any) -> Any:
        # Hashing nested tuples recurses in C, and their hashes can be forged.
        if isinstance(key, tuple):
            return Record(Global("builtins", "tuple"), key)
        if not (key is None or isinstance(key, (str, bytes, int, float, Global, Record))):
            raise self.error(f"uses a {type(key).__name__} as a dictionary key")
        return key

    def put_elements(self, target: Any, values: list[Any]) -> None:
        if isinstance(target, Record):
            target = target.elements
        if not isinstance(target, list):
            raise self.error("appends to what is not a list")
        target.extend(values)

    def refer(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise self.error("names a global by what is not text")
        if len(module) + len(name) > MAX_GLOBAL_NAME:
            raise self.error("names a global by too long a text")
        reference = self.admitted.get((module, name))
        if reference is None:
            reference = Global(module, name)
            if not self.admit(reference):
                self.only_named.add(reference)
            self.admitted[module, name] = reference
        self.push(reference)

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise self.error("calls what is not a global, or without a tuple")
        if function in self.only_named:
            raise self.error(f"calls the global {function}, which is not on the allow-list")
        if function.name == "getattr" and not _is_method(arguments):
            raise self.error("uses getattr for more than a method of a fused model")
        self.push(Record(function, arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, Record) or target.state is not None:
            raise self.error("sets the state of what is not a fresh object")
        target.state = state

    def pack(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def check_protocol(self) -> None:
        version = self.number("<B")
        if not 2 <= version <= 5:
            raise self.error(f"is pickle protocol {version}")

    def take_bytes(self, count: int) -> None:
        self.push(bytes(self.take(count)))

    def append_one(self) -> None:
        value = self.pop()
        self.put_elements(self.top(), [value])

    def append_many(self) -> None:
        values = self.pop_to_mark()
        self.put_elements(self.top(), values)

    def set_one(self) -> None:
        value, key = self.pop(), self.pop()
        self.put_pairs(self.top(), [key, value])

    def set_many(self) -> None:
        values = self.pop_to_mark()
        self.put_pairs(self.top(), values)

    def new_dictionary(self) -> None:
        values = self.pop_to_mark()
        self.push({})
        self.put_pairs(self.top(), values)

    def new_set(self, values: list[Any]) -> None:
        # A set becomes a record, for its members need not be hashable here.
        self.push(Record(Global("builtins", "set"), (), elements=values))

    def named_global(self) -> None:
        module = self.line()
        self.refer(module, self.line())

    def stacked_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.refer(module, name)


#: Methods that YOLOv5 puts in place of `forward` when it fuses a model; only their names are kept.
_METHODS = ("forward_fuse", "fuseforward")


def _is_method(arguments: tuple[Any, ...]) -> bool:
    """Whether the arguments of a getattr are a module and the name of such a method."""
    return len(arguments) == 2 and isinstance(arguments[0], Record) and arguments[1] in _METHODS


_STOP = ord(".")

_Method = Callable[[_Machine], Optional[Any]]

#: Every opcode that is understood. Absent by intent: the text opcodes of protocol 0, INST, OBJ,
#: EXT1-4 (a registry of code), NEWOBJ_EX, and out-of-band buffers.
_OPCODES: dict[int, _Method] = {
    ord(code): method
    for code, method in {
        "\x80": lambda m: m.check_protocol(),  # PROTO
        "\x95": lambda m: m.take(8) and None,  # FRAME: a hint for streaming only
        ".": lambda m: None,  # STOP, handled in run()
        "(": lambda m: m.push(_MARK),  # MARK
        "0": lambda m: m.pop() and None,  # POP
        "1": lambda m: m.pop_to_mark() and None,  # POP_MARK
        "N": lambda m: m.push(None),  # NONE
        "\x88": lambda m: m.push(True),  # NEWTRUE
        "\x89": lambda m: m.push(False),  # NEWFALSE
        "K": lambda m: m.push(m.number("<B")),  # BININT1
        "M": lambda m: m.push(m.number("<H")),  # BININT2
        "J": lambda m: m.push(m.number("<i")),  # BININT
        "\x8a": lambda m: m.push(m.integer(m.number("<B"))),  # LONG1
        "G": lambda m: m.push(m.number(">d")),  # BINFLOAT
        "X": lambda m: m.push(m.text(m.number("<I"))),  # BINUNICODE
        "\x8c": lambda m: m.push(m.text(m.number("<B"))),  # SHORT_BINUNICODE
        "\x8d": lambda m: m.push(m.text(m.number("<Q"))),  # BINUNICODE8
        "B": lambda m: m.take_bytes(m.number("<I")),  # BINBYTES
        "C": lambda m: m.take_bytes(m.number("<B")),  # SHORT_BINBYTES
        "\x8e": lambda m: m.take_bytes(m.number("<Q")),  # BINBYTES8
        "\x96": lambda m: m.take_bytes(m.number("<Q")),  # BYTEARRAY8, taken as bytes
        "]": lambda m: m.push([]),  # EMPTY_LIST
        "l": lambda m: m.push(m.pop_to_mark()),  # LIST
        "a": lambda m: m.append_one(),  # APPEND
        "e": lambda m: m.append_many(),  # APPENDS
        ")": lambda m: m.push(()),  # EMPTY_TUPLE
        "t": lambda m: m.push(tuple(m.pop_to_mark())),  # TUPLE
        "\x85": lambda m: m.pack(1),  # TUPLE1
        "\x86": lambda m: m.pack(2),  # TUPLE2
        "\x87": lambda m: m.pack(3),  # TUPLE3
        "}": lambda m: m.push({}),  # EMPTY_DICT
        "d": lambda m: m.new_dictionary(),  # DICT
        "s": lambda m: m.set_one(),  # SETITEM
        "u": lambda m: m.set_many(),  # SETITEMS
        "\x8f": lambda m: m.new_set([]),  # EMPTY_SET
        "\x90": lambda m: m.append_many(),  # ADDITEMS
        "\x91": lambda m: m.new_set(m.pop_to_mark()),  # FROZENSET
        "q": lambda m: m.remember(m.number("<B")),  # BINPUT
        "r": lambda m: m.remember(m.number("<I")),  # LONG_BINPUT
        "\x94": lambda m: m.remember(len(m.memo)),  # MEMOIZE
        "h": lambda m: m.recall(m.number("<B")),  # BINGET
        "j": lambda m: m.recall(m.number("<I")),  # LONG_BINGET
        "c": lambda m: m.named_global(),  # GLOBAL
        "\x93": lambda m: m.stacked_global(),  # STACK_GLOBAL
        "R": lambda m: m.call(),  # REDUCE
        "\x81": lambda m: m.call(),  # NEWOBJ
        "b": lambda m: m.build(),  # BUILD
        "Q": lambda m: m.push(m.refer_outside(m.pop())),  # BINPERSID
    }.items()
}
