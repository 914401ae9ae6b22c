"""Arrays to tensors and back."""

import numpy as np
import pytest

import alayadb
from alayadb._arrays import checked, from_tensor, parse_dtype, to_tensor, token_list

DTYPES = [np.dtype(np.float32), np.dtype(np.float16), alayadb.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_array_comes_back_as_it_went(dtype, rng):
    array = rng.standard_normal((3, 4, 8)).astype(dtype)

    back = from_tensor(to_tensor(array))

    assert back.dtype == dtype
    assert back.flags.writeable
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strides_do_not_matter(dtype, rng):
    array = rng.standard_normal((8, 4, 6)).astype(dtype)[:, ::2].transpose(2, 1, 0)

    np.testing.assert_array_equal(from_tensor(to_tensor(array)), array)


def test_big_endian_arrays_become_little_endian(rng):
    array = rng.standard_normal((1, 2, 8)).astype(">f4")

    tensor = to_tensor(checked("key", array, (2, "KV heads"), 8, np.dtype(np.float32)))

    assert tensor.data == array.astype("<f4").tobytes()


def test_an_empty_array_has_no_data():
    tensor = to_tensor(np.empty((0, 2, 8), np.float32))

    assert (list(tensor.shape), tensor.data) == ([0, 2, 8], b"")


@pytest.mark.parametrize("name", ["float32", "f32", np.float32, np.dtype("f4")])
def test_a_dtype_has_several_names(name):
    assert parse_dtype(name) == np.float32


@pytest.mark.parametrize("name", ["int8", np.float64, "float64", np.int32])
def test_other_dtypes_are_refused(name):
    with pytest.raises(alayadb.InvalidArgumentError, match="float32, float16 or bfloat16"):
        parse_dtype(name)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], []),
        ([1, 2], [1, 2]),
        (range(3), [0, 1, 2]),
        (np.array([7], np.int64), [7]),
        (np.array([4294967295], np.uint32), [4294967295]),
    ],
)
def test_tokens_are_unsigned_integers(tokens, expected):
    assert token_list(tokens) == expected


@pytest.mark.parametrize("tokens", [[-1], [1 << 32], [0.5], [[1, 2]], ["a"]])
def test_other_tokens_are_refused(tokens):
    with pytest.raises(alayadb.InvalidArgumentError, match="token"):
        token_list(tokens)
