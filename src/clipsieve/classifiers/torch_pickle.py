"""The program in a torch checkpoint, followed opcode by opcode; nothing that it names is imported or called.

`pickletools.genops` splits the bytes and executes nothing. The machine knows dictionaries, lists, plain values, and the few
names with which torch describes a tensor; each is a symbol with a meaning of ours. Whatever else there is, is refused.
"""

from __future__ import annotations

import enum
import math
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Refused", "StorageType", "TensorView", "follow"]

MAX_OPCODES = 200_000
MAX_AXES = 8


class Refused(Exception):  # noqa: N818 - becomes an UnsafeFileError in torch_zip
    """Something that a checkpoint of plain tensors does not need, in words."""


class _Symbol(enum.Enum):
    ORDERED_DICT = "a dictionary"
    REBUILD_TENSOR = "a view of a storage"
    REBUILD_PARAMETER = "a tensor that was trained"


@dataclass(frozen=True)
class StorageType:
    """What the elements of a storage are: numpy's code without a byte order; "bf2" for bfloat16."""

    code: str

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return int(self.code[-1])


@dataclass(frozen=True)
class _Storage:
    kind: StorageType
    key: str
    n: int


@dataclass(frozen=True)
class TensorView:
    """A tensor as the file describes it; offset, size and stride count elements and lie within the storage.

    Parameters
    ----------
    kind : StorageType
        Of the storage's elements.
    key : str
        The storage's name in the archive.
    n : int
        Elements in the storage.
    offset : int
        Of the first element.
    size, stride : tuple of int
        One for each axis, >= 0; at most 8 axes.
    """

    kind: StorageType
    key: str
    n: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


SYMBOLS: dict[tuple[str, str], _Symbol | StorageType] = {
    ("collections", "OrderedDict"): _Symbol.ORDERED_DICT,
    ("torch._utils", "_rebuild_tensor_v2"): _Symbol.REBUILD_TENSOR,
    ("torch._utils", "_rebuild_parameter"): _Symbol.REBUILD_PARAMETER,
    ("torch", "FloatStorage"): StorageType("f4"),
    ("torch", "DoubleStorage"): StorageType("f8"),
    ("torch", "HalfStorage"): StorageType("f2"),
    ("torch", "BFloat16Storage"): StorageType("bf2"),
    ("torch", "IntStorage"): StorageType("i4"),
    ("torch", "LongStorage"): StorageType("i8"),
}


def follow(content: bytes) -> object:
    """Return what the pickle describes: plain values, with a TensorView for each tensor.

    Raises
    ------
    Refused
        At the first opcode that does not belong, with its position, or where the bytes are no pickle.
    """
    machine = _Machine()
    position: int | None = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for n, (opcode, argument, position) in enumerate(pickletools.genops(content)):  # noqa: B007 - in the error
                if n >= MAX_OPCODES:
                    raise Refused("more opcodes than a checkpoint needs")
                machine.step(opcode.name, argument)
    except Refused as error:
        raise Refused(f"{error} at byte {position}") from error
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise Refused(f"a broken pickle after byte {position}: {' '.join(str(error).split())[:100]}") from error
    if position != len(content) - 1:
        raise Refused("bytes behind the end")
    return machine.result


class _Machine:
    """The stack, where its marks are, the memo, and what each opcode does to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.result: object = None

    def step(self, name: str, argument: Any) -> None:  # noqa: ANN401 - whatever the opcode carries
        """Follow one opcode; Refused if a checkpoint does not need it."""
        if name in _LITERALS:
            self.stack.append(_LITERALS[name](argument))
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in _IGNORED:
            raise Refused(f"the opcode {name}")

    def pop(self) -> Any:  # noqa: ANN401 - whatever lies there
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("a value that is not there")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self) -> Any:  # noqa: ANN401 - whatever lies there
        self.stack.append(self.pop())
        return self.stack[-1]

    def tuple_of(self, n: int) -> None:
        self.stack.append(tuple(reversed([self.pop() for _ in range(n)])))

    def symbol(self, module: object, name: object) -> None:
        known = SYMBOLS.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if known is None:
            raise Refused(f"the name {_short(module)}.{_short(name)}")
        self.stack.append(known)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.symbol(module, name)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Symbol) or not isinstance(arguments, tuple):
            raise Refused("a call of something that is no known name")
        self.stack.append(_apply(function, arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if type(state) is not dict or type(target) is not dict:  # torch keeps the modules' versions there
            raise Refused("a state for something that is no dictionary")

    def storage(self) -> None:
        name = self.pop()
        if not isinstance(name, tuple) or len(name) != 5 or not isinstance(name[0], str) or name[0] != "storage":
            raise Refused("a reference to something that is no storage")
        _, kind, key, device, n = name
        if not isinstance(kind, StorageType) or type(key) is not str or type(device) is not str or not _is_count(n):
            raise Refused("a storage of an unknown kind")
        self.stack.append(_Storage(kind, key, n))

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not dict or len(items) % 2 or not all(type(key) in (str, int) for key in items[::2]):
            raise Refused("items for something that is no dictionary of names")
        target.update(zip(items[::2], items[1::2], strict=True))

    def append(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise Refused("items for something that is no list")
        target.extend(items)

    def stop(self) -> None:
        self.result = self.pop()
        if self.stack or self.marks:
            raise Refused("more than one value at the end")


def _apply(function: _Symbol, arguments: tuple[Any, ...]) -> object:
    if function is _Symbol.ORDERED_DICT and not arguments:
        return {}
    if function is _Symbol.REBUILD_TENSOR and len(arguments) in (6, 7):
        return _view(*arguments[:4])
    if function is _Symbol.REBUILD_PARAMETER and len(arguments) == 3 and isinstance(arguments[0], TensorView):
        return arguments[0]
    raise Refused(f"{function.name.lower()} with arguments that torch does not write")


def _view(storage: object, offset: object, size: object, stride: object) -> TensorView:
    if not isinstance(storage, _Storage) or not isinstance(offset, int) or not _is_count(offset):
        raise Refused("a tensor of something that is no storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or not len(size) == len(stride) <= MAX_AXES:
        raise Refused("a tensor without a plain shape")
    if not all(_is_count(side) for side in (*size, *stride)):
        raise Refused("a tensor whose shape or strides are no counts")
    if math.prod(max(side, 1) for side in size) >= 2**40:  # also of an empty one: numpy could not hold its strides
        raise Refused("a tensor of an endless shape")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if all(size) and last >= storage.n:
        raise Refused("a tensor that reaches beyond its storage")
    return TensorView(storage.kind, storage.key, storage.n, offset, size, stride)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _short(value: object) -> str:
    return value[:60] if isinstance(value, str) else "(no text)"


_IGNORED = frozenset({"PROTO", "FRAME"})

_LITERALS: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), lambda value: value),
    **dict.fromkeys(("INT", "LONG", "FLOAT", "UNICODE"), lambda value: value),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE"), lambda value: value),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
}

_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, n: machine.memo.update({n: machine.top()})),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, n: machine.stack.append(machine.memo[n])),
    "MEMOIZE": lambda machine, _: machine.memo.update({len(machine.memo): machine.top()}),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "GLOBAL": lambda machine, names: machine.symbol(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.stack_global(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.storage(),
    "STOP": lambda machine, _: machine.stop(),
}
