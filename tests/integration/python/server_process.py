"""The real server as a child process, on ports of its own choice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import alayadb

REPOSITORY = Path(__file__).resolve().parents[3]
DEFAULT_BINARY = REPOSITORY / "build" / "release" / "server" / "alayadb-server"
START_SECONDS_MAX = 60


def server_binary() -> Path:
    return Path(os.environ.get("ALAYA_SERVER_BINARY", DEFAULT_BINARY))


class ServerProcess:
    """Life: constructed running; `kill` ends it as a power cut would, `terminate` asks it to drain.

    `start` again is a restart on the same data directory; the ports change.
    """

    def __init__(self, directory: Path, *arguments: str, listen: str = "127.0.0.1:0") -> None:
        self._directory = directory
        self._arguments = arguments
        self._listen = listen
        self.address = ""
        self.start()

    def start(self) -> None:
        if not server_binary().is_file():
            raise FileNotFoundError(
                f"no server at {server_binary()}: build it, or set ALAYA_SERVER_BINARY"
            )
        port_file = self._directory / "ports"
        port_file.unlink(missing_ok=True)
        # The server takes ALAYA_… for its settings, and refuses those that it does not know.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ALAYA_")}
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    str(server_binary()),
                    f"--data-dir={self._directory / 'data'}",
                    f"--listen={self._listen}",
                    "--metrics-listen=127.0.0.1:0",
                    f"--port-file={port_file}",
                    *self._arguments,
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the server did not start; its log:\n{self.log()}")
            time.sleep(0.01)
        lines = dict(line.split("=", 1) for line in port_file.read_text().splitlines())
        self.address = self._listen if self._listen.startswith("unix:") else lines["grpc"]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=30)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")

    def connect(self, **arguments) -> alayadb.Client:
        import alayadb

        return alayadb.connect(self.address, **arguments)
