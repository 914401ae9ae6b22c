"""Alerts and dashboard: their syntax, and that each metric and label they ask for exists on a server."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

import yaml

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration" / "python"))
from server_process import REPOSITORY, ServerProcess

MONITORING = REPOSITORY / "deploy" / "monitoring"
ALAYACTL = os.environ.get("ALAYACTL_BINARY", REPOSITORY / "build/release/client/alayactl")
# Those that Prometheus itself adds.
SCRAPE_METRICS = {"up"}
SCRAPE_LABELS = {"instance", "job", "alertname"}

METRIC = re.compile(r"\b((?:alaya|process)_\w+|up)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|=|!~)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)")


def promtool(*arguments, **options):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, **options)
    return done.returncode, done.stdout + done.stderr


def alert_expressions():
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    return {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}


def dashboard():
    return json.loads((MONITORING / "dashboard.json").read_text())


def dashboard_expressions():
    """By panel, with Grafana's variables filled in."""
    found = {}
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            found[f"{panel['title']} {target['refId']}"] = expression
    return found


def all_expressions():
    return {**alert_expressions(), **dashboard_expressions()}


def certificate_arguments(directory):
    """Has a server encrypt its connections: some metrics exist only then."""
    certificate, key = Path(directory) / "server.pem", Path(directory) / "server.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=localhost", "-days", "30", "-keyout", key, "-out", certificate],
                   capture_output=True, check=True)
    return f"--tls-cert={certificate}", f"--tls-key={key}"


class Server:
    """What servers export after a few calls, with TLS and without: by metric, the values that each label has."""

    def __init__(self):
        self.labels = {}
        for has_tls in (False, True):
            with tempfile.TemporaryDirectory() as directory:
                self._scrape(directory, has_tls)

    def _scrape(self, directory, has_tls):
        server = ServerProcess(Path(directory), *(certificate_arguments(directory) if has_tls else ()))
        try:
            ports = dict(l.split("=", 1) for l in (Path(directory) / "ports").read_text().splitlines())
            for command in () if has_tls else (["stats"], ["context", "delete", "nothing"]):
                subprocess.run([ALAYACTL, "--server", server.address, *command],
                               capture_output=True, check=False)
            with urllib.request.urlopen(f"http://{ports['metrics']}/metrics") as response:
                self._read(response.read().decode())
        finally:
            server.terminate()

    def _read(self, text):
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            name, labels = re.fullmatch(r"(\w+)(?:\{(.*)\})? \S+", line).groups()
            values = self.labels.setdefault(name, {})
            for label, _, value in MATCHER.findall(labels or ""):
                values.setdefault(label, set()).add(value)


class MonitoringTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    def test_promtool_accepts_the_configuration(self):
        for config in (MONITORING / "prometheus.yml", REPOSITORY / "deploy/container/prometheus.yml"):
            # In the container the rules lie beside the configuration.
            status, printed = promtool("check", "config", "--syntax-only", config)
            self.assertEqual(status, 0, printed)
        status, printed = promtool("check", "rules", MONITORING / "alerts.yml")
        self.assertEqual(status, 0, printed)

    def test_alerts_fire_when_they_should_and_only_then(self):
        status, printed = promtool("test", "rules", MONITORING / "alerts_test.yml")
        self.assertEqual(status, 0, printed)

    def test_every_alert_is_tested_and_says_what_to_do(self):
        tested = (MONITORING / "alerts_test.yml").read_text()
        rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            self.assertIn(f'alertname="{rule["alert"]}"', tested)
            self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
            self.assertEqual(set(rule["annotations"]), {"summary", "action"})

    def test_every_query_of_the_dashboard_parses(self):
        expressions = dashboard_expressions()
        self.assertGreater(len(expressions), 30)
        rules = [{"record": f"panel:query{i}", "expr": e} for i, e in enumerate(expressions.values())]
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
            file.flush()
            status, printed = promtool("check", "rules", file.name)
        self.assertEqual(status, 0, printed)

    def test_every_metric_and_label_exists_on_a_real_server(self):
        for where, expression in all_expressions().items():
            metrics = METRIC.findall(expression)
            self.assertTrue(metrics, where)
            known = set(SCRAPE_LABELS) | {"le"}
            for name, matchers in metrics:
                if name in SCRAPE_METRICS:
                    continue
                self.assertIn(name, self.server.labels, where)
                labels = self.server.labels[name]
                known |= set(labels)
                for label, operator, value in MATCHER.findall(matchers):
                    if label in SCRAPE_LABELS:
                        continue
                    self.assertIn(label, labels, f"{where}: {name}")
                    if label != "method":
                        for each in value.split("|"):
                            self.assertIn(each, labels[label], f"{where}: {name} {label}")
            for group in GROUPING.findall(expression):
                for label in group.split(","):
                    self.assertIn(label.strip(), known, where)

    def test_the_dashboard_is_whole(self):
        content = dashboard()
        self.assertEqual(content["uid"], "alayadb")
        identifiers = [panel["id"] for panel in content["panels"]]
        self.assertEqual(len(identifiers), len(set(identifiers)))
        for panel in content["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])

    def test_every_exported_metric_is_described(self):
        described = (REPOSITORY / "server/telemetry/README.md").read_text()
        for name in self.server.labels:
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            self.assertTrue(f"`{base}`" in described or f"`{name}`" in described, name)


if __name__ == "__main__":
    unittest.main()
