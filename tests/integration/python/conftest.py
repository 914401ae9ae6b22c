"""One server for all tests that leave it running, others for those that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import alayadb

from server_process import ServerProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("server"))
    yield server
    assert server.running, server.log()
    assert server.terminate() == 0, server.log()


@pytest.fixture
def db(server: ServerProcess) -> Iterator[alayadb.Client]:
    with server.connect(timeout=30) as client:
        yield client


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts a server that the test may kill."""
    started: list[ServerProcess] = []

    def start(*arguments: str, **options: str) -> ServerProcess:
        directory = tmp_path / f"server{len(started)}"
        directory.mkdir()
        started.append(ServerProcess(directory, *arguments, **options))
        return started[-1]

    yield start
    for server in started:
        if server.running:
            server.kill()
