"""What encrypts a connection: the files that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import grpc


@dataclass(frozen=True)
class Tls:
    """PEM files of an encrypted connection.

    Attributes:
      ca: whose certificates are trusted. None: the authorities that gRPC comes with.
      cert: the client's own certificate, where the server asks for one (mTLS).
      key: the private key of `cert`.
      server_name: what the server's certificate must be for. None: the host of the address.
    """

    ca: str | PathLike[str] | None = None
    cert: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files. Errors: OSError; ValueError if one of `cert` and `key` is missing."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client's certificate and its key are needed together")

        def read(path: str | PathLike[str] | None) -> bytes | None:
            return None if path is None else Path(path).read_bytes()

        return grpc.ssl_channel_credentials(
            root_certificates=read(self.ca),
            private_key=read(self.key),
            certificate_chain=read(self.cert),
        )
