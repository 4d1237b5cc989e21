"""What runs inside a box, read as text by `code.py`: `program` serves the answer's names, `judge` tests them.

The two are processes in boxes of their own, with a pipe between them, over which plain data goes as JSON, and all else
as handles. So the program never sees its tests, nor the pipe on which the judge says the verdict: whatever it sends is
no more than the answer to a call. Imports nothing but the standard library, and nothing of KLeash.
"""

from __future__ import annotations

import asyncio
import builtins
import collections
import contextlib
import datetime
import decimal
import fractions
import importlib
import io
import json
import operator
import os
import re
import resource
import sys
import types
from collections.abc import Callable
from typing import Any, TextIO

_LEFT = "it left before its tests"
_MOST_CHARACTERS = 1 << 20
_FOLDED = (list, tuple, set, frozenset, collections.deque)
_BY_TEXT: dict[str, Any] = {
    "Decimal": decimal.Decimal,
    "Fraction": fractions.Fraction,
    "complex": complex,
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
}
_BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift", "matmul"]
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda called, /, *args, **kwargs: called(*args, **kwargs),
    "get": getattr,
    "set": setattr,
    "len": len,
    "iter": iter,
    "next": next,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "repr": repr,
    "format": format,
    "await": lambda value: asyncio.run(value),
    "hash": hash,
    "abs": abs,
    "instancecheck": lambda kind, value: isinstance(value, kind),
    "enter": lambda value: type(value).__enter__(value),
    "exit": lambda value, *why: type(value).__exit__(value, *why),
}
_OPERATIONS |= {name: getattr(operator, f"__{name}__") for name in
     [*_BINARY, "neg", "pos", "invert", "contains", "getitem", "setitem", "delitem", "index",
      "eq", "lt", "le", "gt", "ge"]}  # fmt: skip
_OPERATIONS |= {f"r{name}": lambda own, other, do=_OPERATIONS[name]: do(other, own) for name in _BINARY}
_INNARDS = re.compile(r"_|gi_|f_|cr_|ag_|tb_|co_|func_")


class LeftError(BaseException):
    """The other side is gone."""


class BeyondError(Exception):
    """What the tests want of the program cannot be had over a pipe."""


class Handle:
    """An object of the other side. With plain data it compares as unequal: what is equal to 4 is a number."""

    def __init__(self, peer: Peer, number: int) -> None:
        self.__dict__.update(_peer=peer, _number=number)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)
        return self._peer.ask("get", self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._peer.ask("set", self._number, name, value)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._peer.ask("call", self._number, *args, **kwargs)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        raise BeyondError("its tests derive from a class of the program's")

    def __ne__(self, other: object) -> bool:
        return not self == other


def _passed_on(name: str) -> Callable[..., Any]:
    def method(self: Handle, *args: Any) -> Any:
        if name in ("eq", "lt", "le", "gt", "ge") and not isinstance(args[0], Handle):
            return False if name == "eq" else NotImplemented
        return self._peer.ask(name, self._number, *args)

    return method


for _name in _OPERATIONS.keys() - {"call", "get", "set"}:
    setattr(Handle, f"__{_name}__", _passed_on(_name))


class Peer:
    """One end of the pipe. is_guarded: the other end may call what it is handed, but not look inside."""

    def __init__(self, reads: TextIO, writes: TextIO, *, is_guarded: bool) -> None:
        self.reads, self.writes, self.is_guarded = reads, writes, is_guarded
        self.is_left = False
        self.own: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.classes: dict[int, type] = {}

    def ask(self, name: str, number: int, /, *args: Any, **kwargs: Any) -> Any:
        """Have the other side do something, serving what it asks meanwhile. Raises what that raised."""
        named = {key: self.to_json(value) for key, value in kwargs.items()}
        self._send({"do": name, "of": number, "args": [self.to_json(value) for value in args], "named": named})
        while True:
            message = self._receive()
            if "do" in message:
                self._serve(message)
                continue
            sys.stdout.write(message.get("said", ""))
            for value, now in zip(args, message.get("args", ()), strict=False):
                if now is not None:
                    _become(value, self.from_json(now))
            if "raised" in message:
                raise self.from_json(message["raised"])
            returned = message["returned"]
            is_argument = isinstance(returned, dict) and returned.get("is") == "argument"
            return args[returned["number"]] if is_argument else self.from_json(returned)

    def serve(self) -> None:
        with contextlib.suppress(LeftError):
            while True:
                self._serve(self._receive())

    def _serve(self, message: dict[str, Any]) -> None:
        answer: dict[str, Any] = {}
        try:
            args = [self.from_json(value) for value in message["args"]]
            named = {key: self.from_json(value) for key, value in message["named"].items()}
            if self.is_guarded and message["do"] in ("get", "set") and _INNARDS.match(args[0]):
                raise AttributeError(f"{args[0]} is not for the program")
            result = _OPERATIONS[message["do"]](self.own[message["of"]], *args, **named)
            same = [number for number, value in enumerate(args) if value is result and _is_changeable(value)]
            answer["returned"] = {"is": "argument", "number": same[0]} if same else self.to_json(result)
            answer["args"] = [self.to_json(value) if _is_changeable(value) else None for value in args]
        except BaseException as error:  # even SystemExit: what the program does is for the tests to judge
            answer = {"raised": self.to_json(error)}
        self._send({**answer, "said": _said()})

    def _send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message) + "\n"
        try:
            self.writes.write(text)
            self.writes.flush()
        except OSError as error:
            self.is_left = True
            raise LeftError from error

    def _receive(self) -> dict[str, Any]:
        line = self.reads.readline()
        if not line:
            self.is_left = True
            raise LeftError
        message: dict[str, Any] = json.loads(line)
        return message

    def to_json(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, Handle):
            return {"is": "yours", "number": value._number}
        for plain in (bool, int, float, str):
            if isinstance(value, plain):
                return plain(value)
        if value is None:
            return None
        if isinstance(value, bytes | bytearray):
            return {"is": "bytearray" if isinstance(value, bytearray) else "bytes", "of": list(value)}
        for folded in _FOLDED:
            if isinstance(value, folded):
                return {"is": folded.__name__, "of": [self.to_json(one) for one in value]}
        if isinstance(value, dict):
            return {"is": "dict", "of": [[self.to_json(key), self.to_json(one)] for key, one in value.items()]}
        if kind is range:
            return {"is": "range", "of": [value.start, value.stop, value.step]}
        if kind.__name__ in _BY_TEXT and kind.__module__ in ("decimal", "fractions", "builtins", "datetime"):
            return {"is": kind.__name__, "of": value.isoformat() if hasattr(value, "isoformat") else str(value)}
        if isinstance(value, types.ModuleType):
            return {"is": "module", "of": value.__name__}
        if isinstance(value, type) and value.__module__ == "builtins":
            return {"is": "type", "of": value.__name__}
        if isinstance(value, type) and issubclass(value, BaseException):
            ancestors = [one.__name__ for one in value.__mro__ if one.__module__ == "builtins"]
            return {"is": "error class", "number": self._number(value), "of": value.__name__, "base": ancestors[0]}
        if isinstance(value, BaseException):
            return {"is": "error", "of": self.to_json(kind), "text": str(value)}
        kind_of_handle = "coroutine" if isinstance(value, types.CoroutineType) else "handle"
        return {"is": kind_of_handle, "number": self._number(value)}

    async def _awaited(self, number: int) -> Any:
        return self.ask("await", number)

    def _number(self, value: Any) -> int:
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.own)
            self.own.append(value)
        return self.numbers[id(value)]

    def from_json(self, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        kind = given["is"]
        content: Any = given.get("of")
        for folded in _FOLDED:
            if kind == folded.__name__:
                return folded(self.from_json(one) for one in content)
        match kind:
            case "dict":
                return {self.from_json(key): self.from_json(one) for key, one in content}
            case "bytes" | "bytearray":
                return getattr(builtins, kind)(content)
            case "range":
                return range(*content)
            case "yours":
                return self.own[given["number"]]
            case "handle":
                return Handle(self, given["number"])
            case "coroutine":
                return self._awaited(given["number"])
            case "module":
                if content.partition(".")[0] not in sys.stdlib_module_names or content == "__main__":
                    raise ImportError(f"the tests cannot import {content}")
                return importlib.import_module(content)
            case "type":
                return _builtin_type(content)
            case "error class":
                base = _error_type(given["base"])
                return self.classes.setdefault(given["number"], type(content, (base,), {}))
            case "error":
                made = _error_type(content["of"]) if content["is"] == "type" else self.from_json(content)
                error = made.__new__(made, given["text"])
                error.args = (given["text"],)
                return error
        return _BY_TEXT[kind](content.strip("()") if kind == "complex" else content)


def _builtin_type(name: str) -> type:
    found = getattr(builtins, name, getattr(types, name, object))
    return found if isinstance(found, type) else object


def _error_type(name: str) -> type[BaseException]:
    """Return the exception of that name; leaving is no exception that the tests' own process may take as its own."""
    found = _builtin_type(name)
    return found if issubclass(found, Exception) else RuntimeError


def _is_changeable(value: Any) -> bool:
    return isinstance(value, list | dict | set | bytearray | collections.deque)


def _become(value: Any, now: Any) -> None:
    """Give a container of ours what the other side made of its copy."""
    if type(now) is type(value) and now != value:
        value.clear()
        (value.update if isinstance(value, dict | set) else value.extend)(now)


def _said() -> str:
    """Return what was printed since the last time."""
    buffer = getattr(sys.stdout, "buffer", None)
    if not isinstance(buffer, io.BytesIO) or buffer.closed:
        return ""
    text = buffer.getvalue()[:_MOST_CHARACTERS].decode("utf-8", "replace")
    buffer.seek(0)
    buffer.truncate()
    return text


class _Program:
    """The answer's program, in a module of its own that takes itself for the main one."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")

    def run(self, text: str, ask: Callable[[str], str]) -> None:
        setattr(builtins, "input", lambda prompt="": ask(str(prompt)))  # noqa: B010
        sys.modules["__main__"] = self.module
        with contextlib.suppress(SystemExit):  # after a demonstration, say; the names it left behind are tested
            exec(compile(text, "answer.py", "exec"), self.module.__dict__)

    def names(self) -> list[str]:
        return list(self.module.__dict__)

    def find(self, name: str) -> Any:
        return self.module.__dict__[name]


class _Names(dict[str, Any]):
    """The builtins, and behind them the program's names; before them, where the tests name nothing else of its."""

    def __init__(self, program: Handle, names: set[str]) -> None:
        super().__init__(vars(builtins))
        own = {name for name in names if not name.startswith("__")} & set(program.names())
        self.before = own if own <= vars(builtins).keys() else set()
        self.program = program

    def __getitem__(self, name: str) -> Any:
        if name in self and name not in self.before:
            return super().__getitem__(name)
        return self.program.find(name)


def _names_in(code: types.CodeType) -> set[str]:
    inner = [_names_in(one) for one in code.co_consts if isinstance(one, types.CodeType)]
    return set(code.co_names).union(*inner)


def _judge(peer: Peer, given: dict[str, str]) -> tuple[bool | None, str]:
    program = Handle(peer, 0)
    try:
        program.run(given["program"], lambda prompt: builtins.input(prompt))
        code = compile(given["tests"], "tests.py", "exec")
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        module.__dict__["__builtins__"] = _Names(program, _names_in(code))
        exec(code, module.__dict__)
    except LeftError:
        return False, _LEFT
    except BeyondError as error:
        return None, f"not checked: {error}"
    except SystemExit as leaving:  # as unittest.main() does, with what went wrong
        return not peer.is_left and leaving.code in (
            None,
            0,
            False,
        ), f"its tests end with exit code {leaving.code or 0}"
    except BaseException as error:
        return False, f"{type(error).__name__}: {error}".removesuffix(": ")
    if peer.is_left:  # though tests that expect an exception may have taken it for one
        return False, _LEFT
    return True, "its tests pass"


def _no_input(prompt: str = "") -> str:
    raise EOFError("there is nothing to read")


def main(role: str, seconds: str, memory_bytes: str, num_processes: str, user: str, *channels: str) -> None:
    """Close the doors and serve or judge. user: whom to become, 0 for nobody else. channels: the judge's two pipes."""
    reads, writes = (os.dup(0), os.dup(1)) if role == "program" else map(int, channels)
    verdict, given = (None, None) if role == "program" else (os.dup(1), json.load(sys.stdin))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    if nobody := int(user):
        os.setgroups([])
        os.setresgid(nobody, nobody, nobody)
        os.setresuid(nobody, nobody, nobody)
    limits = {"CPU": int(seconds), "AS": int(memory_bytes), "NPROC": int(num_processes), "FSIZE": 1 << 24, "CORE": 0}
    for limit, most in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):  # a system that does not know one has others
            resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (most, most))
    sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace", write_through=True)
    sys.argv = ["answer.py"]
    sys.set_int_max_str_digits(0)
    ends = os.fdopen(reads, encoding="utf-8"), os.fdopen(writes, "w", encoding="utf-8")
    peer = Peer(*ends, is_guarded=given is not None)
    if given is None or verdict is None:
        peer.own.append(_Program())
        peer.serve()
    else:
        setattr(builtins, "input", _no_input)  # noqa: B010 - the tests may patch it in turn
        passed, detail = _judge(peer, given)
        os.write(verdict, json.dumps({"passed": passed, "detail": detail[:300]}).encode())
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
