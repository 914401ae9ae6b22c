#!/usr/bin/env python3
"""Runs one example as its README says, against a server of its own.

    run_example.py LANGUAGE WORK          the server is $ALAYA_SERVER_BINARY

WORK gets a copy of the sources, where builds are kept for the next time. The example must print
its last line; with a wrong number in vectors.json it must fail.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "python"))
from server_process import REPOSITORY, ServerProcess

LAST_LINE = "ok: all numbers agree with vectors.json"
COMMANDS = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@contextlib.contextmanager
def running_server(directory: Path) -> Iterator[str]:
    """Yields the address; the server must outlive the block and end well."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    server = ServerProcess(directory)
    try:
        yield server.address
        if not server.running or server.terminate() != 0:
            raise SystemExit(f"the server failed:\n{server.log()}")
    finally:
        server.kill()


def copy_sources(language: str, work: Path) -> Path:
    """The layout of the repository, so that the example finds proto and vectors; returns its folder."""
    examples = work / "client" / "examples"
    shutil.copytree(REPOSITORY / "proto", work / "proto", dirs_exist_ok=True)
    shutil.copytree(REPOSITORY / "client" / "examples" / language, examples / language,
                    dirs_exist_ok=True)
    shutil.copy(REPOSITORY / "client" / "examples" / "vectors.json", examples)
    return examples / language


def environment(language: str, work: Path, address: str) -> dict[str, str]:
    variables = {**os.environ, "ALAYADB_ADDRESS": address}
    if language == "python":
        venv = work / "venv"
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        variables["PATH"] = f"{venv / 'bin'}:{variables['PATH']}"
    return variables


def run(commands: str, folder: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Exit status and what was printed."""
    done = subprocess.run(["sh", "-e", "-c", commands], cwd=folder, env=variables, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(f"$ {commands}{done.stdout}[{done.returncode}]", flush=True)
    return done.returncode, done.stdout


def falsify(vectors: Path) -> None:
    content = json.loads(vectors.read_text())
    content["step"]["layers"][-1]["dipr"]["output"][-1] += 0.01
    vectors.write_text(json.dumps(content))


def main() -> int:
    language, work = sys.argv[1], Path(sys.argv[2])
    folder = copy_sources(language, work)
    commands = COMMANDS.findall((folder / "README.md").read_text())[0]
    with running_server(work / "server") as address:
        variables = environment(language, work, address)
        status, printed = run(commands, folder, variables)
        if status != 0 or LAST_LINE not in printed.splitlines():
            print(f"{language}: expected exit status 0 and the line '{LAST_LINE}'")
            return 1
        falsify(folder.parent / "vectors.json")
        status, printed = run(commands.splitlines(keepends=True)[-1], folder, variables)
        if status == 0 or "layer 1 dipr" not in printed or LAST_LINE in printed:
            print(f"{language}: did not notice a wrong number")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
