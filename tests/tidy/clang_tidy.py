#!/usr/bin/env python3
"""clang-tidy over every source of ours that a build folder compiles, on all cores.

    tests/tidy/clang_tidy.py BUILD_FOLDER [PART_OF_A_PATH …]

Prints the findings; exit status 1 if any. A source without findings is not looked at again
until something that it includes, its flags or .clang-tidy changes: ccache knows nothing of
clang-tidy, so a stamp named by the hash of all that is kept in BUILD_FOLDER/clang_tidy.
"""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
CLANG_TIDY = "clang-tidy-16"


class Source(NamedTuple):
    path: Path
    folder: Path  # where its command runs
    preprocess: list[str]


class Outcome(NamedTuple):
    path: Path
    findings: str
    seconds: float
    known: bool  # from the stamp


def preprocess_command(command: str) -> list[str]:
    """The compile command, changed to print what the compiler sees, with the comments (NOLINT is one)."""
    words = shlex.split(command)
    output = words.index("-o")
    del words[output : output + 2]
    words.remove("-c")
    if "ccache" in words[0]:
        del words[0]
    return words + ["-E", "-C"]


def our_sources(build: Path, parts: list[str]) -> list[Source]:
    """One entry a file; generated code lies in the build folder and is not ours."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = Path(entry["file"])
        if not path.is_relative_to(ROOT) or path.is_relative_to(build) or path.suffix != ".cc":
            continue
        if parts and not any(part in str(path.relative_to(ROOT)) for part in parts):
            continue
        found.setdefault(path, Source(path, Path(entry["directory"]), preprocess_command(entry["command"])))
    return sorted(found.values())


def check(source: Source, build: Path, stamps: Path, rules: bytes) -> Outcome:
    start = time.monotonic()
    seen = subprocess.run(source.preprocess, cwd=source.folder, capture_output=True)
    if seen.returncode != 0:
        return Outcome(source.path, seen.stderr.decode(), time.monotonic() - start, False)
    flags = shlex.join(source.preprocess).encode()
    stamp = stamps / hashlib.sha256(b"\0".join((rules, flags, seen.stdout))).hexdigest()
    if stamp.exists():
        stamp.touch()
        return Outcome(source.path, "", time.monotonic() - start, True)
    run = subprocess.run([CLANG_TIDY, "--quiet", "-p", str(build), str(source.path)],
                         capture_output=True, text=True)
    if run.returncode == 0:
        stamp.touch()
        return Outcome(source.path, "", time.monotonic() - start, False)
    return Outcome(source.path, run.stdout or run.stderr, time.monotonic() - start, False)


def new_findings(output: str, printed: set[str]) -> str:
    """The findings that are not in `printed`: each source repeats those of the headers it includes."""
    blocks = re.split(r"^(?=\S+:\d+:\d+: (?:error|warning):)", output, flags=re.MULTILINE)
    fresh = [block for block in blocks if block not in printed]
    printed.update(fresh)
    return "".join(fresh)


def main() -> int:
    build = Path(sys.argv[1]).resolve()
    sources = our_sources(build, sys.argv[2:])
    stamps = build / "clang_tidy"
    stamps.mkdir(exist_ok=True)
    rules = (ROOT / ".clang-tidy").read_bytes()
    bad, known, printed = [], 0, set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(check, source, build, stamps, rules) for source in sources]
        for number, job in enumerate(as_completed(jobs), 1):
            outcome = job.result()
            known += outcome.known
            name = outcome.path.relative_to(ROOT)
            if outcome.findings:
                bad.append(name)
                print(new_findings(outcome.findings, printed), end="", flush=True)
            elif not outcome.known:
                print(f"[{number}/{len(jobs)}] {name} {outcome.seconds:.0f} s", flush=True)
    for name in sorted(bad):
        print(f"FAILED {name}")
    print(f"clang-tidy: {len(sources)} sources, {known} unchanged, {len(bad)} with findings")
    return 1 if bad or not sources else 0


if __name__ == "__main__":
    sys.exit(main())
