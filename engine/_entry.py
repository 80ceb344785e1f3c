"""Compiled functions of a few numbers as built-in functions of Python's: one request without Python on the way.

numba's own way in makes a tuple of the arguments, asks each of them for a float, and makes a tuple of the results that
has to be copied into a named one. Here the compiled code looks at the arguments itself, as any built-in function does,
and makes what is returned. It reads objects as CPython 3.11 and 3.12 lay them out on 64-bit machines, which
`requires-python` and the tests hold; everything else goes through functions of Python's C API.

References
----------
.. [1] Python's C API: "Common Object Structures" (``METH_FASTCALL``, ``PyMethodDef``), "Type Objects" (``tp_alloc``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import cfunc, types
from numba.extending import intrinsic

from engine._compile import FAST, from_bits, inline

__all__ = ["builtin", "compiled", "named_tuple", "no_answer", "one_float", "option"]

_TYPE, _VALUE, _ITEMS = 8, 16, 24  # bytes from an object to its type, a float to its value, a tuple to its items
_FASTCALL = 0x80  # METH_FASTCALL: called with an array of arguments

_address: Any = types.intp
_look_up: Any = types.ExternalFunction("PyDict_GetItem", _address(_address, _address))  # 0 for none, no error
_long_as_float: Any = types.ExternalFunction("PyLong_AsDouble", types.float64(_address))
_error: Any = types.ExternalFunction("PyErr_Occurred", _address())
_no_error: Any = types.ExternalFunction("PyErr_Clear", types.void())
_new_float: Any = types.ExternalFunction("PyFloat_FromDouble", _address(types.float64))
_new_object: Any = types.ExternalFunction("PyType_GenericAlloc", _address(_address, _address))
_hold: Any = types.ExternalFunction("Py_IncRef", types.void(_address))
_let_go: Any = types.ExternalFunction("Py_DecRef", types.void(_address))

# what a built-in function has to hand, in the order of its `self`
_RESULT, _NONE, _SIGNS, _FLOAT, _NUMPY_FLOAT, _INT, _STR = range(7)


def _read(_typing: Any, _place: Any) -> Any:
    """Type and code of the word at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        return builder.load(builder.inttoptr(arguments[0], word.as_pointer()))

    return types.intp(types.intp), generate


def _write(_typing: Any, _place: Any, _word: Any) -> Any:
    """Type and code of putting a word at an address."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


_word: Any = intrinsic(_read)
_put: Any = intrinsic(_write)


@inline
def _of(own: int, place: int) -> int:
    found: int = _word(own + _ITEMS + 8 * place)
    return found


@inline
def _number(own: int, given: int) -> tuple[float, bool]:
    """Return the value of an int or a float, numpy's too, and whether it is one."""
    kind = _word(given + _TYPE)
    if kind == _of(own, _FLOAT) or kind == _of(own, _NUMPY_FLOAT):
        return from_bits(_word(given + _VALUE)), True
    if kind == _of(own, _INT):
        value = _long_as_float(given)
        if value == -1.0 and _error() != 0:
            _no_error()  # it is above every float
            return 0.0, False
        return value, True
    return 0.0, False


@inline
def _sign(own: int, given: int) -> tuple[float, bool]:
    """Return +1 for a call and -1 for a put, and whether it is one of these, as a word or a number."""
    kind = _word(given + _TYPE)
    if kind == _of(own, _STR) or kind == _of(own, _INT):  # a bool is neither
        found = _look_up(_of(own, _SIGNS), given)
        if found == 0:
            return 0.0, False
        return from_bits(_word(found + _VALUE)), True
    value, known = _number(own, given)
    return value, known and abs(value) == 1.0


@inline
def option(own: int, given: int, n: int) -> tuple[bool, float, float, float, float, float, float, float]:
    """Return whether the arguments are six numbers and a kind of option, and what they are."""
    if n != 7:
        return False, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    a, first = _number(own, _word(given))
    b, second = _number(own, _word(given + 8))
    c, third = _number(own, _word(given + 16))
    d, fourth = _number(own, _word(given + 24))
    e, fifth = _number(own, _word(given + 32))
    f, sixth = _number(own, _word(given + 40))
    sign, seventh = _sign(own, _word(given + 48))
    return first and second and third and fourth and fifth and sixth and seventh, a, b, c, d, e, f, sign


@inline
def no_answer(own: int) -> int:
    """Return None: the caller takes the way that says what is wrong."""
    none: int = _of(own, _NONE)
    _hold(none)
    return none


@inline
def one_float(value: float) -> int:
    """Return a float of Python's."""
    found: int = _new_float(value)
    return found


@inline
def named_tuple(own: int, values: tuple[float, ...]) -> int:
    """Return the numbers as the named tuple that `builtin` was given."""
    made: int = _new_object(_of(own, _RESULT), len(values))
    if made == 0:
        return 0  # no memory, which Python raises
    for place in range(len(values)):
        number = _new_float(values[place])
        if number == 0:
            _let_go(made)
            return 0
        _put(made + _ITEMS + 8 * place, number)
    return made


def compiled(function: Callable[..., Any]) -> Any:
    """Compile ``(own, given, n)``, addresses and a number, to that of a new object; keep it for the next process."""
    return cfunc(_address(_address, _address, _address), cache=True, fastmath=FAST, error_model="numpy")(function)


class _Method(ctypes.Structure):
    """How Python describes a built-in function."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("text", ctypes.c_char_p),
    )


_kept: list[Any] = []  # Python refers to these, and holds none of them


def builtin(function: Any, result: type, signs: dict[Any, float]) -> Callable[..., Any]:
    """Return what `compiled` gave as a built-in function; `named_tuple` makes a `result`, `signs` are the kinds."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.POINTER(_Method), ctypes.py_object, ctypes.c_void_p)
    method = _Method(b"request", function.address, _FASTCALL, None)
    _kept.append((function, method))
    own = (result, None, signs, float, np.float64, int, str)
    found: Callable[..., Any] = make(ctypes.byref(method), own, None)
    return found
