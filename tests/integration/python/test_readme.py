"""The examples that the READMEs show run as they stand."""

import re

import pytest

from server_process import REPOSITORY

EXAMPLE = re.compile(r"<!-- example: python -->\n+```python\n(.*?)```", re.DOTALL)
ADDRESS = '"127.0.0.1:50600"'
LINES_MAX = 24


def example(path):
    found = EXAMPLE.findall((REPOSITORY / path).read_text())
    assert len(found) == 1, f"{path}: {len(found)} examples"
    return found[0]


@pytest.mark.parametrize("path", ["README.md", "client/python/README.md"])
def test_the_example_runs(start_server, path, capsys):
    source = example(path)
    assert 5 < len(source.splitlines()) <= LINES_MAX
    assert source.count(ADDRESS) == 1

    server = start_server()
    exec(compile(source.replace(ADDRESS, repr(server.address)), path, "exec"), {})

    assert "reused" in capsys.readouterr().out


def test_both_readmes_show_the_same_example():
    assert example("README.md") == example("client/python/README.md")
