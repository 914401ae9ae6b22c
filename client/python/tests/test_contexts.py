"""Contexts through the client: import in chunks, list, read, search."""

import sys

import numpy as np
import pytest

import alayadb

MEBIBYTE = 1 << 20


def chunk_bytes(message):
    chunk = message.chunk
    return len(chunk.key.data) + len(chunk.value.data) + len(chunk.query.data)


SOURCES = {
    "array": lambda a: a,
    "list": list,
    "generator": lambda a: (layer for layer in a),
    "function": lambda a: lambda layer: a[layer],
    "strided": np.asfortranarray,
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_source_is_stored(db, kv, name):
    tokens, keys, values = kv

    result = db.import_context("m", tokens, SOURCES[name](keys), SOURCES[name](values))

    stored_keys, stored_values = db.load_context(result.context_id)
    np.testing.assert_array_equal(stored_keys, keys)
    np.testing.assert_array_equal(stored_values, values)
    assert result.stored_bytes == keys.nbytes + values.nbytes


@pytest.mark.parametrize("query_tokens", [0, 900, 6000])
def test_chunks_stay_below_one_mebibyte_and_cover_everything(db, state, rng, query_tokens):
    token_count = 9001
    shape = (2, token_count, 2, 16)
    keys, values = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    queries = rng.standard_normal((2, query_tokens, 4, 16)).astype(np.float32)
    calls = []

    db.import_context(
        "m",
        range(token_count),
        keys,
        values,
        queries=queries if query_tokens else None,
        progress=lambda done, total: calls.append((done, total)),
    )

    sizes = [chunk_bytes(m) for m in state.import_messages]
    assert max(sizes) <= MEBIBYTE
    assert sum(sizes) == keys.nbytes + values.nbytes + queries.nbytes
    assert len(sizes) <= 2 * (sum(sizes) // 2 // MEBIBYTE + 2)
    assert calls[-1] == (keys.nbytes + values.nbytes,) * 2
    for layer in range(2):
        data = b"".join(m.chunk.query.data for m in state.import_messages if m.chunk.layer == layer)
        assert data == queries[layer].tobytes()


def test_tokens_that_are_stored_are_not_sent_again(db, kv, state):
    tokens, keys, values = kv
    db.import_context("m", tokens[:30], keys[:, :30], values[:, :30])

    result = db.import_context("m", tokens, keys, values)

    assert result.reused_tokens == 30
    assert [m.chunk.token_begin for m in state.import_messages] == [30, 30]
    np.testing.assert_array_equal(db.load_context(result.context_id)[0], keys)


def test_nothing_is_sent_of_a_context_that_is_stored_whole(db, kv, state):
    tokens, keys, values = kv
    db.import_context("m", tokens, keys, values)

    def unwanted(layer):
        raise AssertionError("asked for a layer")

    result = db.import_context("m", tokens, unwanted, unwanted)

    assert result.reused_tokens == 40
    assert state.import_messages == []


REFUSED = {
    "dtype": (lambda a: a.astype(np.float16), "dtype float16: the model's dtype is float32"),
    "heads": (lambda a: np.repeat(a, 2, axis=2), r"keys of layer 0 shape \[40,4,16\]"),
    "tokens": (lambda a: a[:, :39], "there are 40 tokens"),
    "rank": (lambda a: a[0], r"expected \[L,T,H,D\]"),
    "layer_rank": (lambda a: a[:, 0], r"expected \[L,T,H,D\]"),
    "layers": (lambda a: a[:1], "1 layers, the model has 2"),
    "few_layers": (lambda a: iter(a[:1]), "1 layers, the model has 2"),
    "many_layers": (lambda a: iter([*a, a[0]]), "more layers than the model's 2"),
    "layer_of_list": (lambda a: [a[0], a[1, :, 0]], r"keys of layer 1 shape \[40,16\]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arrays_are_refused_and_nothing_is_stored(db, kv, name):
    tokens, keys, values = kv
    spoil, message = REFUSED[name]

    with pytest.raises(alayadb.InvalidArgumentError, match=message):
        db.import_context("m", tokens, spoil(keys), values)

    assert list(db.contexts()) == []


def test_what_the_source_raises_comes_out_and_nothing_is_stored(db, kv):
    tokens, keys, values = kv

    def broken(layer):
        if layer == 1:
            raise OSError("disk on fire")
        return keys[layer]

    with pytest.raises(OSError, match="disk on fire"):
        db.import_context("m", tokens, broken, values)

    assert list(db.contexts()) == []


def test_an_import_that_the_server_refuses_midway_ends_at_once(db, rng, state):
    state.refuse_import = True
    layer = rng.standard_normal((9000, 2, 16)).astype(np.float32)

    with pytest.raises(alayadb.ResourceExhaustedError, match="disk full"):
        db.import_context("m", range(9000), [layer] * 2, [layer] * 2)


def test_zero_tokens_and_a_used_id_are_refused(db, kv):
    tokens, keys, values = kv
    db.import_context("m", tokens, keys, values, context_id="c")

    with pytest.raises(alayadb.AlreadyExistsError):
        db.import_context("m", tokens, keys, values, context_id="c")
    with pytest.raises(alayadb.InvalidArgumentError):
        db.import_context("m", [], keys[:, :0], values[:, :0])


def test_progress_shows_a_bar_only_where_tqdm_is(db, kv, monkeypatch):
    tokens, keys, values = kv
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)

    assert db.import_context("m", tokens, keys, values, progress=True).stored_bytes > 0


def test_listing_walks_all_pages(db, kv):
    tokens, keys, values = kv
    for i in range(5):
        labels = {"parity": "even" if i % 2 == 0 else "odd"}
        db.import_context("m", [i, *tokens[1:]], keys, values, context_id=f"c{i}", labels=labels)

    assert [c.context_id for c in db.contexts(page_size=2)] == ["c4", "c3", "c2", "c1", "c0"]
    assert [c.context_id for c in db.contexts(labels={"parity": "odd"})] == ["c3", "c1"]
    assert list(db.contexts("another")) == []


def test_a_context_is_updated_and_deleted(db, kv):
    tokens, keys, values = kv
    db.import_context("m", tokens, keys, values, context_id="c", labels={"a": "1"}, ttl=100)

    assert db.update_context("c", pinned=True).pinned
    assert dict(db.update_context("c", labels={}).labels) == {}
    assert db.update_context("c", ttl=0).expire_time is None
    assert db.context("c").pinned
    np.testing.assert_array_equal(db.context_tokens("c"), tokens)
    assert db.delete_context("c") == keys.nbytes + values.nbytes
    with pytest.raises(alayadb.NotFoundError):
        db.delete_context("c")


@pytest.mark.parametrize("token_range", [None, (3, 33), (5, None), slice(0, 9), (30, 99)])
@pytest.mark.parametrize("layers", [None, [1], [1, 0]])
def test_a_range_is_read_back(db, kv, token_range, layers):
    tokens, keys, values = kv
    db.import_context("m", tokens, keys, values, context_id="c")
    rows = token_range if isinstance(token_range, slice) else slice(*(token_range or (None,)))

    read_keys, read_values = db.load_context("c", layers=layers, token_range=token_range)

    np.testing.assert_array_equal(read_keys, keys[layers or [0, 1], rows])
    np.testing.assert_array_equal(read_values, values[layers or [0, 1], rows])


def test_a_stream_of_chunks_may_be_dropped(db, kv):
    tokens, keys, values = kv
    db.import_context("m", tokens, keys, values, context_id="c")

    chunk = next(db.read_context("c"))

    assert (chunk.layer, chunk.token_begin) == (0, 0)
    with pytest.raises(alayadb.NotFoundError):
        next(db.read_context("nowhere"))


def test_search_returns_tokens_and_scores(db, kv, rng):
    tokens, keys, values = kv
    db.import_context("m", tokens, keys, values, context_id="c")
    query = rng.standard_normal((2, 4, 16)).astype(np.float32)

    found = db.search("c", 1, query, target=alayadb.TopK(5))

    scores = keys[1, :, 1].astype(float) @ query[1, 3]
    best = np.argsort(-scores)[:5]
    np.testing.assert_array_equal(found.hits[1][3].tokens, best)
    np.testing.assert_allclose(found.hits[1][3].scores, scores[best], rtol=1e-5)
    with pytest.raises(alayadb.InvalidArgumentError, match="search takes"):
        db.search("c", 1, query, target=alayadb.Full())


def test_models_and_server_are_described(db):
    [model] = db.models()

    assert model == alayadb.Model("m", 2, 4, 2, 16, np.dtype(np.float32))
    assert db.info().limits.max_sessions == 7
    assert db.info().devices[0].name == "cpu"
    assert db.stats().tiers[0] == alayadb.TierStats("memory", 5, 0, 0, 0, 0, 0)
    assert db.stats().indexes[0].kind == "exact"
