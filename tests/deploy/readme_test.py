"""Every command of the top-level README runs, in the order in which a reader meets it."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration" / "python"))
from server_process import REPOSITORY, ServerProcess, server_binary

README = REPOSITORY / "README.md"
ALAYACTL = os.environ.get("ALAYACTL_BINARY", REPOSITORY / "build/release/client/alayactl")

# What another test runs, or nobody should run inside one; the reason follows.
RUN_ELSEWHERE = {
    "deploy/quickstart": "benchmarks/quickstart_demo runs the tour; tests/run installs and builds",
    "tests/run": "runs this test",
    "deploy/install-deps": "the first step of tests/run",
    "cmake --preset dev && cmake --build --preset dev && ctest --preset dev": "tests/run dev",
    "cmake --preset release && cmake --build --preset release": "tests/run release",
    "cmake --preset cuda && cmake --build --preset cuda": "tests/run cuda",
    "clang-format-16 -i FILE": "tests/tidy checks the format of every file",
    "DESTDIR=stage cmake --install build/release --prefix /usr": "integration/install_test",
}


def commands():
    """Of all shell blocks, without comments."""
    for block in re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL):
        for line in block.splitlines():
            command = re.sub(r"\s+#.*", "", line).strip()
            if command:
                yield command


class ReadmeTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.server = None

    def metrics_address(self):
        return re.search("metrics=(.*)", (self.directory / "ports").read_text())[1]

    def start_server(self, words):
        self.assertIsNone(self.server, "one server is enough")
        words.remove("&")
        position = words.index("--data-dir")  # the test has its own
        del words[position : position + 2]
        self.server = ServerProcess(self.directory, *words)
        self.addCleanup(self.server.kill)

    def run_command(self, words):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ALAYA_")}
        if words[0] == ALAYACTL:  # the server itself refuses variables that it does not know
            environment["ALAYA_SERVER"] = self.server.address
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, f"{shlex.join(map(str, words))}: {done.stderr}")
        self.assertNotEqual(done.stdout, "")

    def test_every_command_runs(self):
        count = 0
        for command in commands():
            if command in RUN_ELSEWHERE:
                continue
            with self.subTest(command):
                # Paths and ports of the reader's machine become the test's.
                words = [w.replace("/srv/backups", str(self.directory)) for w in shlex.split(command)]
                if words[0] == "build/release/server/alayadb-server":
                    if words[-1] == "&":
                        self.start_server(words[1:])
                    else:
                        self.run_command([server_binary(), *words[1:]])
                elif words[0] == "build/release/client/alayactl":
                    # verify looks for alayadb-offline beside the installed program.
                    self.run_command([ALAYACTL, *words[1:]])
                elif words[0] == "curl":
                    self.run_command([w.replace("127.0.0.1:50601", self.metrics_address()) for w in words])
                else:
                    self.fail(f"no test runs '{command}': run it here, or name it in RUN_ELSEWHERE")
                count += 1
        self.assertGreaterEqual(count, 10)
        self.assertEqual(self.server.terminate(), 0)

    def test_what_runs_elsewhere_is_still_in_the_readme(self):
        self.assertEqual(set(RUN_ELSEWHERE) - set(commands()), set())


if __name__ == "__main__":
    unittest.main()
