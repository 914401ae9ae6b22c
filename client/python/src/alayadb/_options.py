"""What a query asks for: targets, window, token range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from alayadb._errors import InvalidArgumentError
from alayadb.v1 import attention_pb2


@dataclass(frozen=True)
class Full:
    """All visible tokens: exact attention."""


@dataclass(frozen=True)
class Dipr:
    """The tokens whose attention weight is at least `alpha` times the largest one.

    The number of tokens adapts to each head. `alpha` is in (0, 1]; the default is the paper's
    beta = 50 at head_dim 128. With `sound` no such token may be missing; without it an index may
    miss one, rarely, and is faster.
    """

    alpha: float = 0.012
    sound: bool = False


@dataclass(frozen=True)
class TopK:
    """The `k` visible tokens with the highest scores; of equal scores the earlier ones."""

    k: int


@dataclass(frozen=True)
class Mass:
    """The fewest tokens that together hold this `fraction` of the attention mass, in (0, 1]."""

    fraction: float


Target: TypeAlias = Full | Dipr | TopK | Mass


@dataclass(frozen=True)
class Window:
    """Always attended exactly: the first `sink` tokens and the last `recent` that a query sees."""

    sink: int = 128
    recent: int = 512


#: Token positions [begin, end); end None means "to the end". slice(begin, end) is accepted too.
TokenRange: TypeAlias = tuple[int, int | None] | slice


def fill_token_range(token_range: TokenRange, wire: attention_pb2.TokenRange) -> None:
    if isinstance(token_range, slice):
        if token_range.step not in (None, 1):
            raise InvalidArgumentError(f"token_range {token_range}: the step must be 1")
        begin, end = token_range.start or 0, token_range.stop
    else:
        begin, end = token_range
    # On the wire an end of 0 means "to the end": an empty range must not turn into everything.
    if begin < 0 or (end is not None and end <= begin):
        raise InvalidArgumentError(f"token_range [{begin}, {end}): expected 0 <= begin < end")
    wire.begin = begin
    wire.end = end or 0
    wire.SetInParent()


def fill_window(window: Window, wire: attention_pb2.Window) -> None:
    if not (0 <= window.sink < 1 << 32 and 0 <= window.recent < 1 << 32):
        raise InvalidArgumentError(f"window {window}: not in 0..4294967295")
    wire.sink = window.sink
    wire.recent = window.recent
    wire.SetInParent()  # a window of nothing is not the default window


def fill_target(target: Target | None, wire: attention_pb2.AttendOptions) -> None:
    if isinstance(target, Dipr):
        fill_dipr(target, wire.dipr)
    elif isinstance(target, Full):
        wire.full.SetInParent()
    elif isinstance(target, TopK):
        fill_top_k(target, wire.top_k)
    elif isinstance(target, Mass):
        if not 0 < target.fraction <= 1:
            raise InvalidArgumentError(f"mass fraction {target.fraction}: not in (0, 1]")
        wire.mass.fraction = target.fraction
    elif target is not None:
        raise InvalidArgumentError(f"target {target!r}: use Full, Dipr, TopK or Mass")


def fill_dipr(target: Dipr, wire: attention_pb2.DiprTarget) -> None:
    # On the wire 0 means the default: it must not pass for "weight at least 0".
    if not 0 < target.alpha <= 1:
        raise InvalidArgumentError(f"dipr alpha {target.alpha}: not in (0, 1]")
    wire.alpha = target.alpha
    wire.sound = target.sound


def fill_top_k(target: TopK, wire: attention_pb2.TopKTarget) -> None:
    if not 1 <= target.k < 1 << 32:
        raise InvalidArgumentError(f"top_k {target.k}: not in 1..4294967295")
    wire.k = target.k
