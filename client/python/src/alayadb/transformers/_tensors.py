"""PyTorch tensors to numpy arrays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from alayadb import InvalidArgumentError, bfloat16
from alayadb._arrays import Array

_DTYPES: dict[Any, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float16: np.dtype(np.float16),
    torch.bfloat16: bfloat16,
}


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    if dtype not in _DTYPES:
        raise InvalidArgumentError(f"dtype {dtype}: use float32, float16 or bfloat16")
    return _DTYPES[dtype]


def to_array(tensor: Any) -> Array:
    """A view of the tensor's elements; of a copy if it does not lie in the host's memory."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # which numpy does not know: pass the bits
        bits: Array = tensor.view(torch.int16).numpy()
        return bits.view(bfloat16)
    array: Array = tensor.numpy()
    return array


def to_tensor(array: Array) -> Any:
    """A view of a writable array."""
    if array.dtype == bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
