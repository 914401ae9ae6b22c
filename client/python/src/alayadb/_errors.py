"""Errors of the client: one class per canonical status code that callers tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


class AlayaError(Exception):
    """A call, or one item of it, failed.

    Attributes:
      code: the canonical gRPC status code.
      message: what, which value, which limit.
      reason: machine-readable reason of the server's ErrorInfo, or "" (always "" for errors that
        the client raises before it sends anything).
      metadata: the values that ErrorInfo names, for example {"head_dim": "128"}.
    """

    default_code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})

    def __str__(self) -> str:
        return f"{self.message} [{self.code.name}{', ' + self.reason if self.reason else ''}]"


class InvalidArgumentError(AlayaError, ValueError):
    """A value outside its documented domain; found locally where the client can know."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(AlayaError, LookupError):
    """Unknown model, context or session. After a restart of the server: every old session."""

    default_code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(AlayaError):
    """The context id is in use, or the model's name stands for another shape."""

    default_code = grpc.StatusCode.ALREADY_EXISTS


class FailedPreconditionError(AlayaError):
    """The call does not fit the present state, for example a layer ahead of the one before."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class ResourceExhaustedError(AlayaError):
    """A limit of the server: quota, disk, memory, message size."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(AlayaError, ConnectionError):
    """No server there, the connection broke, or the server drains. The next call reconnects."""

    default_code = grpc.StatusCode.UNAVAILABLE


class DataLossError(AlayaError):
    """A stored block failed its checksum."""

    default_code = grpc.StatusCode.DATA_LOSS


class DeadlineError(AlayaError, TimeoutError):
    """The call took longer than its timeout."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class CancelledCallError(AlayaError):
    """The call was given up, for example because its client was closed."""

    default_code = grpc.StatusCode.CANCELLED


class PermissionDeniedError(AlayaError, PermissionError):
    """The credential is missing, invalid, or does not allow the call."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


_CLASS_OF_CODE: dict[grpc.StatusCode, type[AlayaError]] = {
    cls.default_code: cls
    for cls in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        FailedPreconditionError,
        ResourceExhaustedError,
        UnavailableError,
        DataLossError,
        DeadlineError,
        CancelledCallError,
        PermissionDeniedError,
    )
}
_CLASS_OF_CODE[grpc.StatusCode.UNAUTHENTICATED] = PermissionDeniedError
_CODE_OF_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def _make(code: grpc.StatusCode, message: str, details: Iterable[Any] = ()) -> AlayaError:
    info = error_details_pb2.ErrorInfo()
    for detail in details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            break
    cls = _CLASS_OF_CODE.get(code, AlayaError)
    return cls(message, code=code, reason=info.reason, metadata=info.metadata)


def from_status(status: status_pb2.Status) -> AlayaError:
    """The error of a google.rpc.Status, for example of one attend item."""
    code = _CODE_OF_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    return _make(code, status.message, status.details)


def from_rpc(error: grpc.RpcError) -> AlayaError:
    """The error of a failed call."""
    if not isinstance(error, grpc.Call):
        return AlayaError(str(error))
    code, message = error.code(), error.details() or ""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            status = status_pb2.Status()
            status.ParseFromString(value if isinstance(value, bytes) else value.encode())
            return _make(code, message, status.details)
    return _make(code, message)


def raise_rpc(error: grpc.RpcError) -> NoReturn:
    """Raises the error of a failed call, without gRPC's own in the trace."""
    raise from_rpc(error) from None
