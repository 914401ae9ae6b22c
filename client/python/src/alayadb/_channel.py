"""The connection: one channel, its retry policy, and calls whose failures are AlayaErrors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import grpc

from alayadb._errors import CancelledCallError, UnavailableError, raise_rpc
from alayadb.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    context_service_pb2,
    context_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)

_Response = TypeVar("_Response")

_SERVICES: list[Any] = [
    file.DESCRIPTOR.services_by_name[name]
    for file, name in (
        (context_service_pb2, "ContextService"),
        (session_service_pb2, "SessionService"),
        (admin_service_pb2, "AdminService"),
    )
]
# gRPC repeats what does no harm if it runs twice, as the contract says, while the server is
# away: for about 3 s, which is a restart.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": service.full_name, "method": method.name}
                for service in _SERVICES
                for method in service.methods
                if method.GetOptions().idempotency_level
            ],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS: list[tuple[str, Any]] = [
    # The server bounds what it sends; a prefill's outputs exceed gRPC's default of 4 MiB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # The server runs beside the engine: look for it again soon after it went away.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A proxy meant for the web must not be asked for 127.0.0.1.
    ("grpc.enable_http_proxy", 0),
    # Clients do not share connections: closing or saturating one leaves the others alone.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
]


class _CallDetails(grpc.ClientCallDetails):
    """A call's details with one more entry of metadata."""

    def __init__(self, details: Any, entry: tuple[str, str]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = (*(details.metadata or ()), entry)
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


class _ApiKey(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends the key with every call; gRPC's own call credentials refuse to on Unix sockets."""

    def __init__(self, api_key: str) -> None:
        self._entry = ("authorization", f"Bearer {api_key}")

    def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return continuation(_CallDetails(client_call_details, self._entry), request)

    def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return continuation(_CallDetails(client_call_details, self._entry), request)

    def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(_CallDetails(client_call_details, self._entry), request_iterator)

    def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(_CallDetails(client_call_details, self._entry), request_iterator)


class Channel:
    """A connection to one server. Thread-safe."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float | None,
        credentials: grpc.ChannelCredentials | None,
        server_name: str | None = None,
        api_key: str | None = None,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self._closed = False
        options = list(_OPTIONS)
        if server_name is not None:
            options.append(("grpc.ssl_target_name_override", server_name))
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=options)
        if api_key is not None:
            self._channel = grpc.intercept_channel(self._channel, _ApiKey(api_key))
        self.contexts: Any = context_service_pb2_grpc.ContextServiceStub(self._channel)
        self.sessions: Any = session_service_pb2_grpc.SessionServiceStub(self._channel)
        self.admin: Any = admin_service_pb2_grpc.AdminServiceStub(self._channel)

    def wait_until_ready(self, timeout: float) -> None:
        """Errors: UnavailableError if no AlayaDB server answers in time."""
        request = admin_service_pb2.GetServerInfoRequest()
        try:
            self.admin.GetServerInfo(request, timeout=timeout, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                raise_rpc(error)
            raise UnavailableError(
                f"no server answered at {self.address} within {timeout:g} s"
            ) from None

    def call(
        self,
        method: Any,
        request: Any,
        response: type[_Response],
        timeout: float | None = None,
        *,
        unlimited: bool = False,
    ) -> _Response:
        """One request, one response. `response` is only there to be type-checked.

        `timeout` None stands for the client's, or, if `unlimited`, for any time.
        """
        self._check_open()
        if timeout is None and not unlimited:
            timeout = self.timeout
        try:
            answer: _Response = method(request, timeout=timeout)
            return answer
        except grpc.RpcError as error:
            raise_rpc(error)

    def stream(
        self, method: Any, request: Any, response: type[_Response], timeout: float | None
    ) -> Iterator[_Response]:
        """One request, many responses; the call ends with the iterator."""
        self._check_open()
        call = method(request, timeout=timeout)
        try:
            yield from call
        except grpc.RpcError as error:
            raise_rpc(error)
        finally:
            call.cancel()

    def _check_open(self) -> None:
        if self._closed:
            raise CancelledCallError("the client is closed")

    def close(self) -> None:
        self._closed = True
        self._channel.close()
