"""Reads one numpy array out of a pickle without unpickling.

A pickle is a program for a small stack machine, and running one can run anything. Here its opcodes are only read
(`pickletools.genops` splits bytes and executes nothing), and a machine of our own follows the few that numpy writes for an array
of numbers. The names that such a pickle mentions are never looked up or called: each is a symbol with a meaning of ours.
Whatever else a file holds is refused at the first opcode that does not belong, with its position.
"""

from __future__ import annotations

import enum
import math
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipsieve.errors import UnsafeFileError

__all__ = ["MAX_BYTES", "read_array"]

MAX_BYTES = 64 * 1024**2
MAX_OPCODES = 1000  # numpy needs about 50

DTYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})


class _Symbol(enum.Enum):
    """The names that numpy's pickles mention."""

    RECONSTRUCT = "an empty array, to be filled by its state"
    FROM_BUFFER = "an array from bytes"
    NDARRAY = "the array type"
    DTYPE = "an element type"
    ENCODE = "bytes written as text, by the oldest protocols"


SYMBOLS = {
    ("numpy.core.multiarray", "_reconstruct"): _Symbol.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Symbol.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Symbol.FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Symbol.FROM_BUFFER,
    ("numpy", "ndarray"): _Symbol.NDARRAY,
    ("numpy", "dtype"): _Symbol.DTYPE,
    ("_codecs", "encode"): _Symbol.ENCODE,
}


@dataclass
class _DType:
    """An element type on the stack: its code, and its byte order once the state was seen."""

    code: str
    order: str = "="


@dataclass
class _Array:
    """An array on the stack, empty until its state was seen."""

    value: np.ndarray | None = None


class _Mark(enum.Enum):
    MARK = "where a tuple begins"


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """An opcode or an argument that a plain array does not need."""


def read_array(content: bytes, *, where: str) -> np.ndarray:
    """Return the one array of numbers that a pickle describes.

    Parameters
    ----------
    content : bytes
        The whole file, at most 64 MiB; pickle protocols 0 to 5.
    where : str
        The file's name, for errors.

    Returns
    -------
    array of any shape
        With a native floating or integer dtype; a copy of its own.

    Raises
    ------
    UnsafeFileError
        If it holds anything but one such array. Nothing in it was run.
    """
    if len(content) > MAX_BYTES:
        raise _refusal(where, f"{len(content):,} bytes", expected=f"at most {MAX_BYTES:,} bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in the strings of protocol 0
        return _read(content, where)


def _read(content: bytes, where: str) -> np.ndarray:
    machine = _Machine()
    position: int | None = 0
    try:
        for n, (opcode, argument, position) in enumerate(pickletools.genops(content)):  # noqa: B007 - used in the error
            if n >= MAX_OPCODES:
                raise _Refused("more opcodes than an array needs")
            machine.step(opcode.name, argument)
        if position != len(content) - 1:
            raise _Refused("bytes behind the end")
    except _Refused as error:
        raise _refusal(where, f"{error} at byte {position}") from error
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
        words = " ".join(str(error).split())[:100]
        raise _refusal(where, f"a broken pickle after byte {position}: {words}") from error
    if not isinstance(machine.result, _Array) or machine.result.value is None:
        raise _refusal(where, "no array")
    return machine.result.value


def _refusal(
    where: str, found: str, *, expected: str = "one numpy array of numbers, and nothing else"
) -> UnsafeFileError:
    return UnsafeFileError(
        f"`{where}` is not a pickle of a plain array",
        expected=expected,
        found=found,
        state="nothing in the file was run",
        hint="do not open it with Python's pickle unless you trust whoever made it",
    )


class _Machine:
    """The stack, the memo, and what each opcode does to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.result: Any = None
        self.copied_bytes = 0

    def step(self, name: str, argument: Any) -> None:  # noqa: ANN401 - whatever the opcode carries
        """Follow one opcode; _Refused if a plain array does not need it."""
        if self.result is not None:
            raise _Refused(f"the opcode {name} behind the end")
        if name in _LITERALS:
            self.stack.append(_LITERALS[name](argument))
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in _IGNORED:
            raise _Refused(f"the opcode {name}")

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def tuple_of(self, n: int) -> None:
        if n > len(self.stack):
            raise _Refused("a tuple of what is not there")
        self.replace_by_tuple(self.stack[-n:], n)

    def tuple_from_mark(self) -> None:
        n = self.stack[::-1].index(_Mark.MARK)
        self.replace_by_tuple(self.stack[len(self.stack) - n :], n + 1)

    def replace_by_tuple(self, items: list[Any], n_taken: int) -> None:
        # numpy nests a shape in its arguments, no deeper; tuples of tuples of tuples take 2^n steps to compare
        if any(isinstance(inner, tuple) for item in items if isinstance(item, tuple) for inner in item):
            raise _Refused("tuples nested deeper than an array needs")
        del self.stack[-n_taken:]
        self.stack.append(tuple(items))

    def charge(self, values: tuple[Any, ...]) -> None:
        # An array's bytes are copied at most twice; memo and calls could otherwise multiply one text at will.
        self.copied_bytes += sum(len(value) for value in values if isinstance(value, (str, bytes, bytearray)))
        if self.copied_bytes > 2 * MAX_BYTES:
            raise _Refused("the same bytes over and over")

    def symbol(self, module: object, name: object) -> None:
        known = SYMBOLS.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if known is None:
            raise _Refused(f"the name {str(module)[:60]}.{str(name)[:60]}")
        self.stack.append(known)

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.symbol(module, name)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Symbol) or not isinstance(arguments, tuple):
            raise _Refused("a call of something that is no symbol")
        self.charge(arguments)
        self.stack.append(_apply(function, arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(state, tuple):
            raise _Refused("a state that is no tuple")
        self.charge(state)
        if isinstance(target, _DType):
            target.order = _byte_order(state)
        elif isinstance(target, _Array) and target.value is None:
            target.value = _fill(state)
        else:
            raise _Refused("a state for something that is no array")

    def stop(self) -> None:
        if len(self.stack) != 1:
            raise _Refused(f"{len(self.stack)} values at the end")
        self.result = self.stack.pop()


def _apply(function: _Symbol, arguments: tuple[Any, ...]) -> object:
    if function is _Symbol.RECONSTRUCT and arguments[0] is _Symbol.NDARRAY and arguments[1:] == ((0,), b"b"):
        return _Array()
    if function is _Symbol.DTYPE and _text(arguments[0]) in DTYPES and all(isinstance(f, int) for f in arguments[1:]):
        return _DType(_text(arguments[0]))
    if function is _Symbol.ENCODE and isinstance(arguments[0], str) and arguments[1:] == ("latin1",):
        return arguments[0].encode("latin1")
    if function is _Symbol.FROM_BUFFER and len(arguments) == 4:
        content, dtype, shape, order = arguments
        return _Array(_array(content, dtype, shape, order))
    raise _Refused(f"{function.name.lower()} with arguments that numpy does not write")


def _byte_order(state: Any) -> str:  # noqa: ANN401 - taken apart here
    """Return the byte order in a dtype's state: (3, order, None, None, None, -1, -1, flags)."""
    order = _text(state[1])
    if state[0] != 3 or order not in ("<", ">", "|", "=") or state[2:] != (None, None, None, -1, -1, 0):
        raise _Refused("an element type that is no plain number")
    return "=" if order == "|" else order


def _text(value: object) -> str:
    """Return a word, which Python 2 wrote as bytes; the empty text for anything else."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    return value if isinstance(value, str) else ""


def _fill(state: Any) -> np.ndarray:  # noqa: ANN401 - taken apart here
    """Return the array in an array's state: (1, shape, dtype, Fortran order, bytes)."""
    version, shape, dtype, fortran, content = state
    if version != 1:
        raise _Refused("an array of an unknown version")
    return _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:  # noqa: ANN401 - all checked here
    if not isinstance(content, (bytes, bytearray)) or not isinstance(dtype, _DType) or order not in ("C", "F"):
        raise _Refused("an array of something else than numbers")
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(side) is int and side >= 0 for side in shape):
        raise _Refused("an array without a plain shape")
    element = np.dtype(dtype.order + dtype.code)
    if math.prod(shape) * element.itemsize != len(content):
        raise _Refused(f"an array of shape {shape} with {len(content):,} bytes")
    values = np.frombuffer(bytes(content), dtype=element).reshape(shape, order=order)
    return values.astype(element.newbyteorder("="), order="C")


_IGNORED = frozenset({"PROTO", "FRAME"})

_LITERALS: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1"), lambda value: value),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), lambda value: value),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"), lambda value: value),
    # Python 2 wrote bytes and text alike as strings; numpy's are read as its Python 3 port reads them, as Latin-1.
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), lambda value: value.encode("latin1")),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "MARK": lambda _: _Mark.MARK,
    "EMPTY_TUPLE": lambda _: (),
}

_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, index: machine.put(index)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.stack.append(machine.memo[index])),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "TUPLE": lambda machine, _: machine.tuple_from_mark(),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "GLOBAL": lambda machine, names: machine.symbol(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.stack_global(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "STOP": lambda machine, _: machine.stop(),
}
