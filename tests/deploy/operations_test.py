"""OPERATIONS.md: it names every metric, every alert and only real settings, and its drill works."""

import os
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import unittest
import urllib.request
import zipfile
from pathlib import Path

import yaml

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration" / "python"))
from server_process import REPOSITORY, ServerProcess

OPERATIONS = (REPOSITORY / "deploy" / "OPERATIONS.md").read_text()
ALAYACTL = os.environ.get("ALAYACTL_BINARY", REPOSITORY / "build/release/client/alayactl")
TOKENS, KV_HEADS, HEAD_DIM = 300, 2, 8


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", OPERATIONS, re.DOTALL | re.MULTILINE)[1]


def first_column(title):
    """The words in backticks at the beginnings of a table's rows."""
    cells = re.findall(r"^\|([^|]*)\|", section(title), re.MULTILINE)
    return [word for cell in cells for word in re.findall(r"`(\w+)`", cell)]


def npy(kind, shape, data):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def write_context(path):
    """Two layers of keys and values, each byte pair a small f16 number."""
    count = TOKENS * KV_HEADS * HEAD_DIM
    with zipfile.ZipFile(path, "w") as file:
        for layer in range(2):
            for name in ("key", "value"):
                data = struct.pack(f"<{count}e", *((i * 7 + layer) % 13 / 13 for i in range(count)))
                file.writestr(f"{name}_{layer}.npy", npy("<f2", (TOKENS, KV_HEADS, HEAD_DIM), data))
        file.writestr("tokens.npy", npy("<i8", (TOKENS,), struct.pack(f"<{TOKENS}q", *range(TOKENS))))


class OperationsTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.server = ServerProcess(self.directory)
        self.addCleanup(self.server.kill)

    def test_every_metric_says_what_to_watch_for(self):
        ports = dict(line.split("=", 1) for line in (self.directory / "ports").read_text().splitlines())
        with urllib.request.urlopen(f"http://{ports['metrics']}/metrics") as response:
            exported = set(re.findall(r"^# TYPE (alaya_\w+)", response.read().decode(), re.MULTILINE))
        self.assertGreater(len(exported), 40)
        # A server without a GPU or TLS has no figures of them: their names are held against the source.
        source = (REPOSITORY / "server/telemetry/engine_collector.cc").read_text()
        exported |= set(re.findall(r'"(alaya_(?:gpu|tls)_\w+)"', source))
        self.assertEqual(sorted(first_column("Metrics")), sorted(exported))

    def test_every_alert_says_what_to_do(self):
        rules = yaml.safe_load((REPOSITORY / "deploy/monitoring/alerts.yml").read_text())
        alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
        self.assertEqual(sorted(first_column("Alerts")), sorted(alerts))

    def test_settings_that_are_named_exist(self):
        settings = set(re.findall(r"^(\w+) = ", (REPOSITORY / "deploy/alayadb.toml").read_text(), re.MULTILINE))
        tuning = {w for w in re.findall(r"`([a-z_]+)`", section("Tuning") + section("Sizing")) if "_" in w}
        named = {word for word in tuning if not word.startswith("alaya_")}
        self.assertGreater(len(named), 10)
        self.assertEqual(named - settings, set())

    def alayactl(self, *words):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ALAYA_")}
        environment["ALAYA_SERVER"] = self.server.address
        done = subprocess.run([ALAYACTL, *words], env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, f"{shlex.join(words)}: {done.stderr}")
        return done.stdout

    def test_the_drill_brings_contexts_back(self):
        write_context(self.directory / "book.npz")
        self.alayactl("model", "register", "demo", "--layers", "2", "--query-heads", "4", "--kv-heads", "2",
                      "--head-dim", "8", "--dtype", "f16")
        self.alayactl("context", "import", str(self.directory / "book.npz"), "--model", "demo", "--id", "book")
        before = self.alayactl("context", "show", "book")
        shown = []
        blocks = re.findall(r"```sh\n(.*?)```", section("Drill: backup, upgrade, going back"), re.DOTALL)
        for line in "".join(blocks).splitlines():
            command = re.sub(r"\s+#.*", "", line)
            # The data directory and the backups of the reader's machine become the test's.
            command = command.replace("/var/lib/alayadb", str(self.directory / "data"))
            words = shlex.split(command.replace("/srv/backups", str(self.directory)))
            if words == ["systemctl", "stop", "alayadb"]:
                self.assertEqual(self.server.terminate(), 0)
            elif words == ["systemctl", "start", "alayadb"]:
                self.server.start()
            elif words[0] == "mv":
                Path(words[1]).rename(words[2])
            else:
                self.assertEqual(words[0], "alayactl")
                printed = self.alayactl(*words[1:])
                if words[1:3] == ["context", "show"]:
                    shown.append(printed)
        self.assertEqual(shown, [before, before])


if __name__ == "__main__":
    unittest.main()
