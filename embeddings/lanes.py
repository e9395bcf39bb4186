"""Sixteen floats at a time: explicit vectors for compiled loops, whatever the processor has.

A `Lanes` value is one LLVM vector of sixteen floats. Compiled code passes it around as it passes
numbers; LLVM makes it one register where there are 512 bits, and two or four where there are fewer.
Compilers do turn plain loops into vectors, but keep no table row in registers from one loop to the
next, and that is where the time of the word vectors goes.

numba caches compiled callers by their own file: change this one, and windows.py must be touched.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

WIDTH = 16

# callers leave the typing context out, which the types of numba do not know
_intrinsic: Callable[[Callable[..., Any]], Any] = intrinsic

_FLOAT = ir.FloatType()
_INT32 = ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, WIDTH)
_INTS = ir.VectorType(_INT32, WIDTH)
_MAX_EXPONENT = 60.0
# 2**x on [-0.5, 0.5]: its Taylor series, whose next term is below half a unit of single precision
_EXP2 = (
    1.0,
    0.6931471805599453,
    0.2402265069591007,
    0.0555041086648216,
    0.0096181291076285,
    0.0013333558146428,
    0.0001540353039338,
)


@cache
def has_vectors() -> bool:
    """Returns whether this processor multiplies and adds vectors in one step."""
    features = llvmlite.binding.get_host_cpu_features()
    return bool(features.get("fma") or features.get("neon"))


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes")


LANES = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _address(context: Any, builder: Any, kind: Any, value: Any, index: Any) -> Any:
    data = cgutils.create_struct_proxy(kind)(context, builder, value=value).data
    return builder.gep(data, [index])


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * WIDTH)


def _call(builder: Any, name: str, *arguments: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(arguments))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v16f32")
    return builder.call(function, arguments)


@_intrinsic
def zeros(typing: Any) -> Any:
    """Returns sixteen zeros."""
    return LANES(), lambda context, builder, signature, arguments: _constant(0.0)


@_intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Returns the sixteen floats of a flat float32 array that begin at an index."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(address, _VECTOR.as_pointer()), align=4)

    return LANES(array, types.int64), emit


@_intrinsic
def store(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Writes sixteen floats into a flat float32 array from an index on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], builder.bitcast(address, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, LANES), emit


@_intrinsic
def spread(typing: Any, array: Any, index: Any) -> Any:
    """Returns one float of a flat float32 array, sixteen times."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.load(_address(context, builder, signature.args[0], *arguments))
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(nothing, number, _INT32(0))
        return builder.shuffle_vector(first, nothing, ir.Constant(_INTS, [0] * WIDTH))

    return LANES(array, types.int64), emit


@_intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Returns a * b + c, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # fmuladd and not fma: without the instruction, fma is a call for each lane
        return _call(builder, "fmuladd", *arguments)

    return LANES(LANES, LANES, LANES), emit


def _lane_by_lane(name: str) -> Callable[..., Any]:
    def typed(typing: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return LANES(LANES, LANES), emit

    return typed


add = _intrinsic(_lane_by_lane("fadd"))
subtract = _intrinsic(_lane_by_lane("fsub"))
multiply = _intrinsic(_lane_by_lane("fmul"))


@_intrinsic
def sigmoid(typing: Any, lanes: Any) -> Any:
    """Returns 1 / (1 + exp(-x)), lane by lane, to single precision."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        power = builder.fmul(arguments[0], _constant(-1.4426950408889634))  # of two
        for order, bound in ((">", _MAX_EXPONENT), ("<", -_MAX_EXPONENT)):
            # compared so that a NaN stays one
            beyond = builder.fcmp_ordered(order, power, _constant(bound))
            power = builder.select(beyond, _constant(bound), power)
        whole = _call(builder, "rint", power)
        rest = builder.fsub(power, whole)
        series = _constant(_EXP2[-1])
        for coefficient in reversed(_EXP2[:-1]):
            series = _call(builder, "fmuladd", series, rest, _constant(coefficient))
        exponent = builder.add(builder.fptosi(whole, _INTS), ir.Constant(_INTS, [127] * WIDTH))
        scale = builder.bitcast(builder.shl(exponent, ir.Constant(_INTS, [23] * WIDTH)), _VECTOR)
        below = builder.fadd(_constant(1.0), builder.fmul(series, scale))
        return builder.fdiv(_constant(1.0), below)

    return LANES(LANES), emit


# What each level of the tree below takes from a pair of vectors: lanes of the first are 0 to 15,
# of the second 16 to 31. Each level halves how many lanes a sum is spread over.
_HALVES = (
    (
        [4 * q + i for q in range(4) for i in (0, 16, 1, 17)],
        [4 * q + i for q in range(4) for i in (2, 18, 3, 19)],
    ),
    (
        [4 * q + i for q in range(4) for i in (0, 1, 16, 17)],
        [4 * q + i for q in range(4) for i in (2, 3, 18, 19)],
    ),
    (
        [i + j for i in (0, 8, 16, 24) for j in range(4)],
        [i + j for i in (4, 12, 20, 28) for j in range(4)],
    ),
    (
        [i + j for i in (0, 8, 16, 24) for j in range(4)],
        [i + j for i in (4, 12, 20, 28) for j in range(4)],
    ),
)


@_intrinsic
def sums(
    typing: Any,
    a0: Any,
    a1: Any,
    a2: Any,
    a3: Any,
    a4: Any,
    a5: Any,
    b0: Any,
    b1: Any,
    b2: Any,
    b3: Any,
    b4: Any,
    b5: Any,
) -> Any:
    """Returns the sum of each of twelve vectors: those of a in lanes 0 to 5, of b in 8 to 13."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = _constant(0.0)
        level = [*arguments[:6], nothing, nothing, *arguments[6:], nothing, nothing]
        for halves in _HALVES:
            low, high = (ir.Constant(_INTS, half) for half in halves)
            level = [
                builder.fadd(builder.shuffle_vector(x, y, low), builder.shuffle_vector(x, y, high))
                for x, y in zip(level[::2], level[1::2], strict=True)
            ]
        return level[0]

    return LANES(*[LANES] * 12), emit


@_intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Asks for the cache line of an array's element, to be there when it is read."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = _address(context, builder, signature.args[0], *arguments)
        # to be read, to be kept in all levels of the cache, data
        builder.call(function, [builder.bitcast(address, byte), _INT32(0), _INT32(3), _INT32(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), emit
