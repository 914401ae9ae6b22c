"""numpy arrays to tensors and back, and the checks that need no server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from alayadb._errors import InvalidArgumentError
from alayadb.v1 import tensor_pb2

Array: TypeAlias = npt.NDArray[Any]
Tokens: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]
Duration: TypeAlias = float | timedelta

bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)

_TO_WIRE: dict[np.dtype[Any], tensor_pb2.DType] = {
    np.dtype(np.float32): tensor_pb2.DTYPE_F32,
    np.dtype(np.float16): tensor_pb2.DTYPE_F16,
    bfloat16: tensor_pb2.DTYPE_BF16,
}
_FROM_WIRE: dict[int, np.dtype[Any]] = {wire: dtype for dtype, wire in _TO_WIRE.items()}
_BY_NAME: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "f32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "f16": np.dtype(np.float16),
    "bfloat16": bfloat16,
    "bf16": bfloat16,
}


def parse_dtype(dtype: Any) -> np.dtype[Any]:
    """float32, float16 or bfloat16, from a name, a numpy dtype or a scalar type."""
    if isinstance(dtype, str):
        found = _BY_NAME.get(dtype)
    else:
        found = np.dtype(dtype).newbyteorder("=")
    if found is None or found not in _TO_WIRE:
        raise InvalidArgumentError(f"dtype {dtype!r}: use float32, float16 or bfloat16")
    return found


def dtype_to_wire(dtype: np.dtype[Any]) -> tensor_pb2.DType:
    return _TO_WIRE[dtype]


def dtype_from_wire(wire: int) -> np.dtype[Any]:
    if wire not in _FROM_WIRE:
        raise InvalidArgumentError(f"the server answered with dtype number {wire}")
    return _FROM_WIRE[wire]


def to_tensor(array: Array) -> tensor_pb2.Tensor:
    """As `fill_tensor`, a message of its own."""
    tensor = tensor_pb2.Tensor()
    fill_tensor(array, tensor)
    return tensor


def fill_tensor(array: Array, tensor: tensor_pb2.Tensor) -> None:
    """Copies the elements once, whatever the strides. `array` has passed `checked`."""
    tensor.dtype = _TO_WIRE[array.dtype]
    tensor.shape.extend(array.shape)
    if sys.byteorder == "big":
        array = array.astype(array.dtype.newbyteorder("<"))
    tensor.data = array.tobytes()


def from_tensor(tensor: tensor_pb2.Tensor) -> Array:
    """A writable array of its own."""
    return view_of_tensor(tensor).copy()


def view_of_tensor(tensor: tensor_pb2.Tensor) -> Array:
    """A read-only array over the message's bytes."""
    flat: Array = np.frombuffer(tensor.data, dtype=dtype_from_wire(tensor.dtype))
    return flat.reshape(tuple(tensor.shape))


def show(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def checked(
    what: str, array: Any, heads: tuple[int, str], head_dim: int, dtype: np.dtype[Any] | None
) -> Array:
    """`array` as [T, heads, head_dim], native byte order; [heads, head_dim] means T = 1.

    Errors: InvalidArgumentError for another shape, for a dtype other than `dtype`, or, if that is
      None, for one that the wire does not know.
    """
    result: Array = np.asarray(array)
    count, word = heads
    if result.ndim == 2:
        result = result[np.newaxis]
    if result.ndim != 3 or result.shape[1:] != (count, head_dim):
        raise InvalidArgumentError(
            f"{what} shape {show(result.shape)}: expected [T,{count},{head_dim}] or "
            f"[{count},{head_dim}], the model has {count} {word} of head_dim {head_dim}"
        )
    native = result.dtype.newbyteorder("=")
    if dtype is not None and native != dtype:
        raise InvalidArgumentError(f"{what} dtype {result.dtype}: the model's dtype is {dtype}")
    if native not in _TO_WIRE:
        raise InvalidArgumentError(
            f"{what} dtype {result.dtype}: use float32, float16 or ml_dtypes.bfloat16"
        )
    return result if result.dtype == native else result.astype(native)


def token_list(tokens: Tokens) -> list[int]:
    """Token ids as the wire wants them: unsigned 32-bit integers, one dimension."""
    array = np.asarray(tokens)
    if array.size == 0:
        return []
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"tokens {array.dtype}{show(array.shape)}: expected one dimension of integers"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 0xFFFFFFFF:
        raise InvalidArgumentError(f"token {low if low < 0 else high}: not in 0..4294967295")
    result: list[int] = array.tolist()
    return result


def to_timedelta(duration: Duration) -> timedelta:
    return duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
