#!/usr/bin/env python3
"""Checks of the source tree that need no compiler.

    tests/tidy/tidy.py [ROOT]     prints each offence as FILE:LINE: RULE: MESSAGE; exit status 1 if any

Old sins stand in exceptions.toml with a reason each. An exception that is no longer
needed is an offence too, and so is one more than that file's `count_max`, so the
list can only shrink.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path, PurePosixPath
from typing import Callable, Iterator, NamedTuple

LINES_MAX = 600
CODE = {".h", ".cc", ".cu", ".cuh"}
SCRIPTS = {".py", ".sh", ".cmake", ".txt", ".toml", ".proto", ""}
TESTED_FOLDERS = ("storage", "index", "server", "client")
# Folders under tests/ that mirror nothing and explain themselves in a README.
TEST_FOLDERS_WITH_README = ("benchmarks", "fault", "fuzz", "integration", "proto", "support", "tidy")


class Offence(NamedTuple):
    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


class Ban(NamedTuple):
    pattern: str
    instead: str
    allowed: tuple[str, ...]  # path prefixes
    suffixes: set[str]


BANS = (
    Ban(r"\bstd::cout\b", "a Status for the caller, or the server's log", ("client/cli/",), CODE),
    Ban(r"\bgetenv\b", "an option that server/config or the client fills in",
        ("server/config/", "client/", "tests/"), CODE),
    Ban(r"\babsl::string_view\b", "std::string_view and Message() of storage/types/status.h",
        ("storage/types/status.h",), CODE),
    Ban(r"\busing namespace\b", "using declarations of single names", (), CODE),
    Ban(r"\b(FIXME|TODO)\b", "an issue, or doing it", (), CODE | SCRIPTS | {".md"}),
)

# What only the machine of the author knows. Written in pieces so that this file passes.
MACHINE_PATHS = ("/wo" + "rk/", "/ro" + "ot/", ".." + "/shared")
MACHINE_PATHS_IN_DOCUMENTS = ("/t" + "mp/",)


class Tree:
    """The files that are, or would be, committed."""

    def __init__(self, root: Path):
        self.root = root
        self.files = sorted(path for path in self._list() if (root / path).is_file())
        self._text: dict[str, str] = {}

    def _list(self) -> list[str]:
        command = ["git", "-C", str(self.root), "ls-files", "-co", "--exclude-standard", "-z"]
        if (self.root / ".git").exists():
            listing = subprocess.run(command, check=True, capture_output=True).stdout.decode()
            return [path for path in listing.split("\0") if path]
        found = (path.relative_to(self.root) for path in self.root.rglob("*"))
        return [str(path) for path in found if path.parts[0] != "build"]

    def text(self, path: str) -> str:
        """The file's text; empty if it is not text."""
        if path not in self._text:
            try:
                self._text[path] = (self.root / path).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                self._text[path] = ""
        return self._text[path]

    def lines(self, path: str) -> Iterator[tuple[int, str]]:
        return enumerate(self.text(path).splitlines(), start=1)

    def with_suffix(self, suffixes: set[str]) -> Iterator[str]:
        return (path for path in self.files if PurePosixPath(path).suffix in suffixes)


def banned_words(tree: Tree) -> Iterator[Offence]:
    for ban in BANS:
        pattern = re.compile(ban.pattern)
        for path in tree.with_suffix(ban.suffixes):
            if path.startswith(ban.allowed) or path.startswith("tests/tidy/"):
                continue
            for number, line in tree.lines(path):
                if match := pattern.search(line):
                    yield Offence(path, number, "banned", f"{match[0]}: use {ban.instead}")


def file_length(tree: Tree) -> Iterator[Offence]:
    for path in tree.with_suffix(CODE | {".py"}):
        count = len(tree.text(path).splitlines())
        if count > LINES_MAX:
            yield Offence(path, count, "length", f"{count} lines, at most {LINES_MAX} are allowed")


def mirrored_tests(tree: Tree) -> Iterator[Offence]:
    files = set(tree.files)
    for path in tree.with_suffix({".cc"}):
        test = f"tests/{path.removesuffix('.cc')}_test.cc"
        if path.startswith(tuple(f"{folder}/" for folder in TESTED_FOLDERS)) and test not in files:
            yield Offence(path, 1, "untested", f"{test} does not exist")


def needs_readme(folder: str) -> bool:
    if not folder.startswith("tests/"):
        return folder not in (".", "tests")
    return folder.removeprefix("tests/") in TEST_FOLDERS_WITH_README


def quoted_names(text: str) -> set[str]:
    """Words in backticks; `page.{h,cc}` stands for both."""
    names: set[str] = set()
    for quoted in re.findall(r"`([^`\n]+)`", text):
        for word in re.split(r"[\s,]+(?![^{]*\})", quoted):
            if match := re.fullmatch(r"([\w./-]+)\.\{([\w,\s]+)\}", word):
                names.update(f"{match[1]}.{suffix.strip()}" for suffix in match[2].split(","))
            else:
                names.add(word)
    return names


def is_named(file: str, names: set[str]) -> bool:
    """By its name, by its stem, by its header, or by a pattern like `convert_<service>`."""
    stem = file.rsplit(".", 1)[0]
    patterns = (re.sub(r"<\w+>", "*", name) for name in names)
    wanted = {file, stem, f"{stem}.h"} if file.endswith(".cc") else {file, stem}
    return any(fnmatch(name, pattern) for pattern in patterns for name in wanted)


def file_cells(text: str) -> Iterator[tuple[int, str]]:
    """The first cells of tables that begin with `| file |`."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        cell = line.split("|")[1].strip() if line.startswith("|") else None
        inside = cell is not None and (inside or cell == "file")
        if inside and cell is not None:
            yield number, cell


def readme_tables(tree: Tree) -> Iterator[Offence]:
    """Folders with code have a README that names each file, and in its table no file that is gone.

    Tests and benchmarks need no mention.
    """
    folders: dict[str, list[str]] = {}
    for path in tree.with_suffix(CODE):
        folders.setdefault(str(PurePosixPath(path).parent), []).append(PurePosixPath(path).name)
    for folder, code_files in sorted(folders.items()):
        if not needs_readme(folder):
            continue
        readme = f"{folder}/README.md"
        if readme not in tree.files:
            yield Offence(readme, 1, "readme", "every folder with code has a README.md")
            continue
        named = quoted_names(tree.text(readme))
        for name in sorted(code_files):
            if not re.search(r"_(test|bench)\.cc$", name) and not is_named(name, named):
                yield Offence(readme, 1, "readme", f"does not name {name}")
        below = [path.removeprefix(f"{folder}/") for path in tree.files
                 if path.startswith(f"{folder}/")]
        for number, cell in file_cells(tree.text(readme)):
            for name in sorted(quoted_names(cell)):
                known = (is_named(path, {name}) or path.startswith(f"{name.rstrip('/')}/")
                         for path in below)
                if not any(known):
                    yield Offence(readme, number, "readme", f"names {name}, which does not exist")


def heading_anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
            for heading in headings}


def links(tree: Tree) -> Iterator[Offence]:
    for path in tree.with_suffix({".md"}):
        text = re.sub(r"```.*?```", lambda code: "\n" * code[0].count("\n"), tree.text(path),
                      flags=re.DOTALL)
        for number, line in enumerate(text.splitlines(), start=1):
            for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
                if re.match(r"[a-z]+:", target):
                    continue
                file, _, anchor = target.partition("#")
                destination = (tree.root / path).parent / file if file else tree.root / path
                if not destination.exists():
                    yield Offence(path, number, "link", f"{target} does not exist")
                elif anchor and destination.suffix == ".md":
                    if anchor not in heading_anchors(destination.read_text(encoding="utf-8")):
                        yield Offence(path, number, "link", f"no heading #{anchor} in {target}")


def machine_paths(tree: Tree) -> Iterator[Offence]:
    for path in tree.files:
        banned = MACHINE_PATHS
        if path.endswith(".md"):
            banned += MACHINE_PATHS_IN_DOCUMENTS
        for number, line in tree.lines(path):
            for word in banned:
                if word in line:
                    yield Offence(path, number, "machine", f"{word} exists on one machine only")


def header_guards(tree: Tree) -> Iterator[Offence]:
    for path in tree.with_suffix({".h", ".cuh"}):
        guard = "ALAYA_" + re.sub(r"[^A-Za-z0-9]", "_", path).upper() + "_"
        text = tree.text(path)
        wanted = f"#ifndef {guard}\n#define {guard}\n"
        if path.endswith("-inl.h"):  # Highway includes these once for each instruction set
            wanted = f"#if defined({guard}) == defined(HWY_TARGET_TOGGLE)\n"
        if wanted not in text or not text.endswith(f"#endif  // {guard}\n"):
            yield Offence(path, 1, "guard", f"the header guard must be {guard}")


def formatting(tree: Tree) -> Iterator[Offence]:
    clang_format = shutil.which("clang-format-16")
    if clang_format is None:
        print("tidy: clang-format-16 is missing; the format was not checked", file=sys.stderr)
        return
    files = list(tree.with_suffix({".h", ".cc"}))
    if not files:
        return
    result = subprocess.run([clang_format, "--dry-run", "-Werror", "--ferror-limit=1", *files],
                            cwd=tree.root, capture_output=True, text=True)
    for match in re.finditer(r"^([^\s:]+):(\d+):\d+: error:", result.stderr, re.MULTILINE):
        yield Offence(match[1], int(match[2]), "format", f"run clang-format-16 -i {match[1]}")


CHECKS: tuple[Callable[[Tree], Iterator[Offence]], ...] = (
    banned_words, file_length, mirrored_tests, readme_tables, links, machine_paths, header_guards,
    formatting)


def forgive(offences: list[Offence], exceptions: dict, files: list[str]) -> list[Offence]:
    """Takes out what an exception covers; adds exceptions that cover nothing, or are too many."""
    where = "tests/tidy/exceptions.toml"
    entries = {(rule, path): reason for rule, table in exceptions.items() if isinstance(table, dict)
               for path, reason in table.items()}
    hit = {(offence.rule, offence.path) for offence in offences}
    left = [offence for offence in offences if (offence.rule, offence.path) not in entries]
    for (rule, path), reason in entries.items():
        if (rule, path) not in hit:
            left.append(Offence(where, 1, "exception", f"{rule} {path} is clean now: remove it"))
        if not isinstance(reason, str) or len(reason.split()) < 3:
            left.append(Offence(where, 1, "exception", f"{rule} {path} needs a reason"))
        elif rule == "untested" and not set(re.findall(r"tests/[\w/.]+", reason)) & set(files):
            left.append(Offence(where, 1, "exception", f"{rule} {path} names no test that exists"))
    count_max = exceptions.get("count_max", 0)
    if len(entries) > count_max:
        left.append(Offence(where, 1, "exception", f"{len(entries)} entries, count_max {count_max}"))
    elif len(entries) < count_max:
        left.append(Offence(where, 1, "exception", f"lower count_max to {len(entries)}"))
    return left


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[2]
    tree = Tree(root.resolve())
    exceptions_file = tree.root / "tests/tidy/exceptions.toml"
    exceptions = tomllib.loads(exceptions_file.read_text()) if exceptions_file.exists() else {}
    offences = forgive([offence for check in CHECKS for offence in check(tree)], exceptions,
                       tree.files)
    for offence in sorted(offences):
        print(offence)
    print(f"tidy: {len(tree.files)} files, {len(offences)} offences")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
