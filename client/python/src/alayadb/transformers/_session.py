"""The cache: what transformers asks of one, with the keys and values in the database.

A step is one forward pass over T new columns of the batch. Rows are padded on the left, and padding
never goes to the database: row i of the batch is a session there that holds its columns from
`_padding[i]` on. So what a row attends to, and what `store` keeps, is its own tokens and no others.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers import Cache

from alayadb import (
    AttendItem,
    Client,
    FailedPreconditionError,
    InvalidArgumentError,
    Target,
    Window,
)
from alayadb.transformers import _attention, _model
from alayadb.transformers._rows import Rows, all_or_none
from alayadb.transformers._tensors import to_array, to_tensor

#: Keys and values travel in pieces of about this size, so that the server begins with the first.
_PIECE_BYTES_MAX = 1 << 20


class _Layer:
    """What transformers reads of a layer; the keys and values are the server's."""

    is_compileable = False
    is_croppable = True
    is_sliding = False
    is_initialized = False
    supports_early_init = False


class Session(Cache):  # type: ignore[misc]
    """A KV cache in AlayaDB, for `model.generate(past_key_values=...)`.

    A prompt is attended to where the model runs, and its keys and values are sent to the server
    meanwhile, layer by layer. Tokens after it send their query and get their attention back.

    Use one session per conversation: `generate` may be called again with the longer sequence. Use
    it as a context manager, or `close` it, to free the server's memory at once; otherwise that
    happens when the object is no longer used. Threads: one at a time.

    Attributes:
      model: the shape that the server knows the model by.
      reused_tokens: columns of `input_ids` (left padding included) that were stored already;
        `generate` computes the rest.
    """

    def __init__(
        self,
        db: Client,
        model: Any,
        input_ids: Any = None,
        attention_mask: Any = None,
        *,
        name: str | None = None,
        target: Target | None = None,
        window: Window | None = None,
        tail_estimate: bool | None = None,
    ) -> None:
        """
        Args:
          model: the transformers model that will use the session.
          input_ids: the prompt, [T] or [B, T], to reuse the longest stored prefix of each row. At
            least one token is left to compute. None: nothing is reused.
          attention_mask: [B, T]; its zeros are the left padding.
          name: of the model in the database. None: made from the weights, so that models with
            other weights never share keys and values.
          target, window, tail_estimate: as in `alayadb.Session.attend`, for tokens after the
            prompt. None: the planner's default; `Full()` is exact attention.

        Errors: InvalidArgumentError for a model that AlayaDB cannot run; what
          `Client.create_session` raises.
        """
        self.model = _model.register(db, model, name)
        # Cache.__init__ takes other arguments in every version; this is what it sets.
        self.layers = [_Layer() for _ in range(self.model.num_layers)]
        self.layer_class_to_replicate = None
        self.offloading = False
        self._db = db
        self._dtype = model.dtype
        self._options: dict[str, Any] = {
            "target": target,
            "window": window,
            "tail_estimate": tail_estimate,
        }
        self._clear()
        if input_ids is not None:
            self._open_on(input_ids, attention_mask)

    # Opening and ending.

    def _clear(self) -> None:
        self.reused_tokens = 0
        self._rows: Rows | None = None  # None: as many as the first step brings
        self._padding: list[int] = []
        self._prompt: list[list[int]] = []  # tokens of each row that are known, for `store`
        self._lengths = [0] * self.model.num_layers  # columns that each layer has seen
        self._waiting_layer: int | None = None  # updated, but not yet attended
        self._new: list[int] = []  # tokens that the step adds to each row
        self._settled_length = 0  # columns that the server is known to hold in every layer
        self._failure: BaseException | None = None
        self._beams_moved = False

    def _open_on(self, input_ids: Any, attention_mask: Any) -> None:
        ids, padding = _unpadded(input_ids, attention_mask)
        create = partial(self._db.create_session, self.model.name)
        rows = all_or_none(partial(create, tokens, reuse_limit=len(tokens) - 1) for tokens in ids)
        self._adopt(Rows(self._db, rows), padding)
        # The cache has one length for all rows: that of the row with the least.
        length = min(p + row.reused_tokens for row, p in zip(rows, padding))
        for row, p in zip(rows, padding):
            if p + row.reused_tokens > length:
                row.truncate(max(0, length - p))
        self._prompt = ids
        self._lengths = [length] * self.model.num_layers
        self._settled_length = self.reused_tokens = length

    def _adopt(self, rows: Rows, padding: list[int]) -> None:
        self._rows, self._padding = rows, padding
        self._finalizer = weakref.finalize(self, rows.close_soon)
        self._finalizer.atexit = False

    def close(self) -> None:
        """Frees the session on the server; the object is empty then and may be used again."""
        if self._rows is not None:
            self._finalizer.detach()
            self._rows.close()
        self._clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        rows = 0 if self._rows is None else len(self._rows)
        return f"Session(model={self.model.name!r}, rows={rows}, length={self.get_seq_length()})"

    def store(self, sequences: Any, **options: Any) -> list[str]:
        """Stores every row as a context; returns their ids. The session goes on.

        Args:
          sequences: token ids [T] or [B, T], padded as the prompt was, for example what
            `generate` returned. Its last token has no keys yet and is left out.
          **options: as in `alayadb.Session.store`; context_id for a batch of one only.

        Errors: InvalidArgumentError if these cannot be the tokens of this session.
        """
        rows, length = self._running_rows(), self.get_seq_length()
        if length == 0:
            raise FailedPreconditionError("the session has no tokens yet")
        ids = torch.as_tensor(sequences)
        ids = ids[None] if ids.ndim == 1 else ids
        if self._beams_moved:
            raise FailedPreconditionError(
                "after a beam search the rows are beams, in another order than what it returned"
            )
        if ids.shape[0] != len(rows) or ids.shape[1] < length:
            raise InvalidArgumentError(
                f"sequences {list(ids.shape)}: the session has {len(rows)} rows of {length} tokens"
            )
        tokens = [ids[i, p:length].tolist() for i, p in enumerate(self._padding)]
        for row, (given, prompt) in enumerate(zip(tokens, self._prompt)):
            if given[: len(prompt)] != prompt[: len(given)]:
                raise InvalidArgumentError(f"sequences, row {row}: the prompt was another one")
        rows.settle()
        return [rows[i].store(tokens[i], **options) for i in range(len(rows))]

    # A step: transformers calls `update`, then the attention function, for layer after layer.

    def update(
        self, key_states: Any, value_states: Any, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Any, Any]:
        """Takes a layer's new keys and values, [B, Hkv, T, D] each, and hands them on as they are:
        the attention function sends them, with the query."""
        if self._failure is not None:
            raise FailedPreconditionError(
                f"an earlier step failed ({self._failure}): crop, reset or close the session"
            )
        if self._waiting_layer is not None:
            raise FailedPreconditionError(
                f"layer {self._waiting_layer} did not attend through AlayaDB: call "
                'model.set_attn_implementation("alaya")'
            )
        self._waiting_layer = layer_idx
        key_states = key_states.view_as(key_states)  # to be marked: the caller's stays as it is
        setattr(key_states, _attention.SESSION_MARK, self)
        return key_states, value_states

    def attend(self, query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
        """Attention of the layer that was updated last; for the attention function.

        [B, H, T, D] each, the mask [B, columns] or None. Returns [B, T, Hq, D].
        """
        layer, self._waiting_layer = self._waiting_layer, None
        if layer is None:
            raise FailedPreconditionError("attention without new keys and values")
        key, value = key.to(self._dtype), value.to(self._dtype)
        count = key.shape[2]
        if layer == 0:
            self._begin_step(len(key), count, mask)
        with self._failing():
            if layer == 0:
                self._running_rows().settle()
                self._settled_length = self._lengths[0]
            if count == 1:
                output = self._attend_token(layer, query, key, value, scale)
            else:
                output = self._attend_prompt(layer, query, key, value, scale)
        self._lengths[layer] += count
        return output

    def _begin_step(self, batch: int, count: int, mask: Any) -> None:
        length = self._lengths[0]
        padding = _left_padding(mask, batch, length + count)
        if self._rows is None:
            create = partial(self._db.create_session, self.model.name)
            self._adopt(Rows(self._db, all_or_none([create] * batch)), padding)
        elif length == self.reused_tokens and batch % len(self._rows) == 0:
            self.batch_repeat_interleave(batch // len(self._rows))  # generate() repeats its prompts
        rows = self._running_rows()
        if len(rows) != batch:
            raise InvalidArgumentError(f"a batch of {batch}: the session has {len(rows)} rows")
        held = [max(0, length - p) for p in self._padding]
        if held != [max(0, length - p) for p in padding]:
            raise InvalidArgumentError(
                f"attention_mask: left padding {padding}, but the session's is {self._padding}"
            )
        self._padding = padding
        self._new = [min(count, length + count - p) for p in padding]

    def _attend_token(self, layer: int, query: Any, key: Any, value: Any, scale: float) -> Any:
        """One new token per row: the database computes all of its attention."""
        rows = self._running_rows()
        q, k, v = (to_array(x[:, :, 0]) for x in (query, key, value))
        live = [i for i, new in enumerate(self._new) if new > 0]
        items = [
            AttendItem(rows[i], layer, q[i], k[i], v[i], scale=scale, **self._options) for i in live
        ]
        answers = rows.ask(items).result()
        outputs = [to_tensor(answer.output) for answer in answers]
        if len(live) == len(rows):
            return torch.stack(outputs).to(query.device)[:, None]
        output = query.new_zeros(query.shape[0], 1, *query.shape[1::2])
        output[live, 0] = torch.stack(outputs).to(query.device)
        return output

    def _attend_prompt(self, layer: int, query: Any, key: Any, value: Any, scale: float) -> Any:
        """Many new tokens per row: attention among them here, to all before them by the database.

        The questions go out first, then the new keys and values, and only then is anything
        computed here; the next layers go on while the server takes the rows in.
        """
        rows, length, count = self._running_rows(), self._lengths[layer], key.shape[2]
        asked = {
            i: self._ask(rows, i, layer, query[i, :, count - new :], scale)
            for i, new in enumerate(self._new)
            if new > 0 and length > self._padding[i]
        }
        for i, new in enumerate(self._new):
            if new > 0:
                self._send(rows, i, layer, key[i, :, count - new :], value[i, :, count - new :])
        if not asked and min(self._new) == count:
            return _attention.causal_attention(query, key, value, scale).transpose(1, 2)
        output = torch.zeros_like(query).transpose(1, 2)
        for i, new in enumerate(self._new):
            if new <= 0:
                continue
            q, k, v = (x[i, :, count - new :] for x in (query, key, value))
            if i in asked:
                here = _attention.causal_attention_part(q, k, v, scale)
                row = _attention.merge(here, _joined(asked[i], query.device))
            else:
                row = _attention.causal_attention(q[None], k[None], v[None], scale)[0]
            output[i, count - new :] = row.transpose(0, 1).to(output.dtype)
        return output

    def _ask(self, rows: Rows, i: int, layer: int, query: Any, scale: float) -> list[Any]:
        """[Hq, T, D] over what row i holds, in as many requests as the server's limit needs."""
        queries = to_array(query.transpose(0, 1))
        step = self._queries_per_item()
        return [
            rows.ask(
                [AttendItem(rows[i], layer, queries[t : t + step], scale=scale, **self._options)]
            )
            for t in range(0, len(queries), step)
        ]

    def _send(self, rows: Rows, i: int, layer: int, key: Any, value: Any) -> None:
        keys, values = to_array(key.transpose(0, 1)), to_array(value.transpose(0, 1))
        step = max(1, _PIECE_BYTES_MAX // (2 * keys[0].nbytes))
        for t in range(0, len(keys), step):
            piece = slice(t, t + step)
            rows.send(AttendItem(rows[i], layer, None, keys[piece], values[piece]))

    def _queries_per_item(self) -> int:
        if not hasattr(self, "_queries_max"):
            self._queries_max = self._db.info().limits.max_queries_per_item
        return self._queries_max

    def _running_rows(self) -> Rows:
        if self._rows is None:
            raise FailedPreconditionError("the session has no tokens yet")
        if self._failure is not None:
            raise FailedPreconditionError(f"an earlier step failed: {self._failure}")
        return self._rows

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """A step that fails half-way leaves layers of different lengths: nothing may follow it."""
        try:
            yield
        except BaseException as error:
            self._failure = error
            self._lengths = [self._settled_length] * len(self._lengths)
            raise

    # What generation asks of a cache.

    def get_seq_length(self, layer_idx: int = 0, *_: Any, **__: Any) -> int:
        """Columns, left padding included."""
        return self._lengths[layer_idx]

    def get_mask_sizes(self, query_length: Any, layer_idx: int = 0) -> tuple[int, int]:
        # A number since 5.5, the positions of the new tokens before.
        count = query_length if isinstance(query_length, int) else query_length.shape[0]
        return self._lengths[layer_idx] + count, 0

    def get_max_length(self, *_: Any, **__: Any) -> int:
        return -1

    get_max_cache_shape = get_max_length

    @property
    def batch_size(self) -> int:
        return -1 if self._rows is None else len(self._rows)

    max_batch_size = batch_size

    def reset(self) -> None:
        """Forgets everything, on the server too."""
        self.close()

    def crop(self, max_length: int) -> None:
        """Keeps the first `max_length` columns; a negative number is that many to remove.

        0 removes nothing, as in transformers 5; to empty the session, `reset` it.
        """
        self._waiting_layer = None
        length = min(self._lengths)
        kept = length + max_length if max_length <= 0 else min(max_length, length)
        if self._rows is None or (kept == length and self._failure is None):
            return
        if kept < 0:
            raise InvalidArgumentError(f"crop({max_length}): the session has {length} columns")
        self._rows.truncate(max(0, kept - p) for p in self._padding)
        self._failure = None
        self._lengths = [kept] * self.model.num_layers
        self._settled_length = kept
        self.reused_tokens = min(self.reused_tokens, kept)

    def reorder_cache(self, beam_idx: Any) -> None:
        """Beam search: row i goes on from what row `beam_idx[i]` was."""
        self.batch_select_indices(beam_idx)
        self._beams_moved = True

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._select([i for i in range(self.batch_size) for _ in range(repeats)])

    def batch_select_indices(self, indices: Any) -> None:
        self._select(torch.arange(self.batch_size)[torch.as_tensor(indices).cpu()].tolist())

    def _select(self, indices: list[int]) -> None:
        if self._rows is None or indices == list(range(len(self._rows))):
            return
        self._running_rows().select(indices)
        self._padding = [self._padding[i] for i in indices]
        self._prompt = [self._prompt[i] for i in indices] if self._prompt else []

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """A session of its own with the same tokens: forked on the server, which copies nothing."""
        copy = type(self).__new__(type(self))
        memo[id(self)] = copy
        copy.__dict__.update(self.__dict__)
        copy.layers = [_Layer() for _ in self.layers]
        copy._lengths = list(self._lengths)
        if self._rows is not None:
            copy._adopt(self._running_rows().forked(), list(self._padding))
        return copy


def _left_padding(mask: Any, batch: int, columns: int) -> list[int]:
    """Columns of padding of each row. Errors: InvalidArgumentError if it is not on the left."""
    if mask is None:
        return [0] * batch
    if mask.ndim != 2 or mask.shape != (batch, columns):
        raise InvalidArgumentError(
            f"attention_mask {list(mask.shape)}: expected [{batch}, {columns}], a padding mask "
            "over the cached and the new tokens"
        )
    padding = columns - mask.sum(1)
    if not bool((mask == (torch.arange(columns, device=mask.device) >= padding[:, None])).all()):
        raise InvalidArgumentError(
            "attention_mask: AlayaDB takes padding on the left only (padding_side='left')"
        )
    result: list[int] = padding.tolist()
    return result


def _unpadded(input_ids: Any, attention_mask: Any) -> tuple[list[list[int]], list[int]]:
    """The tokens of each row and its left padding."""
    ids = torch.as_tensor(input_ids)
    ids = ids[None] if ids.ndim == 1 else ids
    mask = None if attention_mask is None else torch.as_tensor(attention_mask).bool()
    mask = mask[None] if mask is not None and mask.ndim == 1 else mask
    padding = _left_padding(mask, *ids.shape)
    tokens = [row[p:] for row, p in zip(ids.tolist(), padding)]
    if not all(tokens):
        raise InvalidArgumentError(f"input_ids {list(ids.shape)}: a row has no tokens")
    return tokens, padding


def _joined(asked: list[Any], device: Any) -> tuple[Any, Any]:
    """Answers to consecutive queries as output [Hq, T, D] and log_sum_exp [Hq, T], float32."""
    answers = [pending.result()[0] for pending in asked]
    output = torch.cat([to_tensor(a.output) for a in answers]).to(device).float()
    log_sum_exp = torch.cat([to_tensor(a.log_sum_exp) for a in answers]).to(device)
    return output.transpose(0, 1), log_sum_exp.transpose(0, 1)
