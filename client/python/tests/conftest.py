"""A fake server per test, a client of it, and a small registered model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import alayadb

from fake_server import FakeServer, State

LAYERS, QUERY_HEADS, KV_HEADS, HEAD_DIM = 2, 4, 2, 16


@pytest.fixture
def server() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def state(server: FakeServer) -> State:
    return server.state


@pytest.fixture
def db(server: FakeServer) -> Iterator[alayadb.Client]:
    with alayadb.connect(server.address, timeout=20) as client:
        client.register_model(
            "m",
            num_layers=LAYERS,
            num_query_heads=QUERY_HEADS,
            num_kv_heads=KV_HEADS,
            head_dim=HEAD_DIM,
            dtype="float32",
        )
        yield client


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def kv(rng: np.random.Generator) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Tokens, keys and values of a context of 40 tokens."""
    shape = (LAYERS, 40, KV_HEADS, HEAD_DIM)
    keys, values = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    return list(range(100, 140)), keys, values
