"""Dockerfile, compose file, systemd unit and Kubernetes manifests against what the server really does."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration" / "python"))
from server_process import REPOSITORY, ServerProcess, server_binary

DEPLOY = REPOSITORY / "deploy"
GRPC_PORT, METRICS_PORT, USER = 50600, 50601, 10001


def check_config(variables):
    """Whether the server takes these settings; the output otherwise."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ALAYA_")}
    done = subprocess.run([server_binary(), "--check-config"], env={**environment, **variables},
                          capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stderr


def dockerfile():
    """Instructions as (name, arguments), continued lines joined."""
    text = (DEPLOY / "container/Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


class DockerfileTest(unittest.TestCase):
    def setUp(self):
        self.instructions = dockerfile()
        self.last_stage = self.instructions[
            max(i for i, (name, _) in enumerate(self.instructions) if name == "FROM"):]

    def of(self, name):
        return [arguments for each, arguments in self.last_stage if each == name]

    def test_it_builds_in_one_stage_and_runs_in_another(self):
        stages = [arguments for name, arguments in self.instructions if name == "FROM"]
        self.assertEqual(stages, ["debian:12 AS build", "debian:12-slim"])

    def test_what_it_copies_and_calls_exists(self):
        for name, arguments in self.instructions:
            if name == "COPY":
                self.assertTrue((REPOSITORY / arguments.split()[-2]).exists(), arguments)
        status = subprocess.run([DEPLOY / "install-deps", "--help"], capture_output=True, text=True)
        self.assertIn("--build-only", status.stdout)

    def test_it_runs_as_an_ordinary_user(self):
        self.assertEqual(self.of("USER"), [str(USER)])

    def test_the_server_takes_its_settings(self):
        settings = dict(re.findall(r"(ALAYA_\w+)=(\S+)", " ".join(self.of("ENV"))))
        self.assertGreaterEqual(len(settings), 5)
        self.assertEqual(check_config(settings), (True, ""))
        self.assertEqual(self.of("EXPOSE"), [f"{GRPC_PORT} {METRICS_PORT}"])
        self.assertTrue(settings["ALAYA_LISTEN"].endswith(f":{GRPC_PORT}"))
        self.assertTrue(settings["ALAYA_METRICS_LISTEN"].endswith(f":{METRICS_PORT}"))
        self.assertTrue(settings["ALAYA_DATA_DIR"].startswith(self.of("VOLUME")[0]))


class ComposeTest(unittest.TestCase):
    def setUp(self):
        self.file = DEPLOY / "container/compose.yaml"
        self.services = yaml.safe_load(self.file.read_text())["services"]

    def test_what_it_mounts_and_builds_exists(self):
        build = self.services["alayadb"]["build"]
        context = (self.file.parent / build["context"]).resolve()
        self.assertEqual(context, REPOSITORY)
        self.assertTrue((context / build["dockerfile"]).is_file())
        for service in self.services.values():
            for volume in service.get("volumes", ()):
                source = volume.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((self.file.parent / source).exists(), volume)

    def test_ports_are_published_on_loopback_only(self):
        for service in self.services.values():
            for port in service.get("ports", ()):
                self.assertTrue(port.startswith("127.0.0.1:"), port)

    def test_the_server_takes_its_settings(self):
        self.assertEqual(check_config(self.services["alayadb"]["environment"]), (True, ""))

    def test_prometheus_differs_from_the_plain_one_in_the_target_only(self):
        def config(path):
            content = yaml.safe_load((DEPLOY / path).read_text())
            return content, content["scrape_configs"][0].pop("static_configs")

        plain, _ = config("monitoring/prometheus.yml")
        compose, targets = config("container/prometheus.yml")
        self.assertEqual(plain, compose)
        self.assertEqual(targets, [{"targets": [f"alayadb:{METRICS_PORT}"]}])


class KubernetesTest(unittest.TestCase):
    def setUp(self):
        documents = yaml.safe_load_all((DEPLOY / "kubernetes/alayadb.yaml").read_text())
        self.objects = {document["kind"]: document for document in documents}
        self.pod = self.objects["StatefulSet"]["spec"]["template"]
        self.container = self.pod["spec"]["containers"][0]

    def test_selectors_and_names_agree(self):
        labels = self.pod["metadata"]["labels"]
        self.assertEqual(self.objects["Service"]["spec"]["selector"], labels)
        spec = self.objects["StatefulSet"]["spec"]
        self.assertEqual(spec["selector"]["matchLabels"], labels)
        self.assertEqual(spec["serviceName"], self.objects["Service"]["metadata"]["name"])
        self.assertEqual(self.objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"], labels)
        claims = {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
        secrets = {volume["name"] for volume in self.pod["spec"]["volumes"]}
        self.assertEqual({m["name"] for m in self.container["volumeMounts"]}, claims | secrets)

    def test_ports_are_the_servers(self):
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.assertEqual(ports, {"grpc": GRPC_PORT, "metrics": METRICS_PORT})

    def test_it_runs_as_the_images_user_and_can_write_its_volume_only(self):
        security = self.pod["spec"]["securityContext"]
        self.assertTrue(security["runAsNonRoot"])
        self.assertEqual((security["runAsUser"], security["fsGroup"]), (USER, USER))
        self.assertTrue(self.container["securityContext"]["readOnlyRootFilesystem"])

    def test_the_server_takes_its_settings(self):
        # What the image sets counts, too.
        image = " ".join(arguments for name, arguments in dockerfile() if name == "ENV")
        settings = dict(re.findall(r"(ALAYA_\w+)=(\S+)", image))
        settings |= {each["name"]: each["value"] for each in self.container["env"]}
        self.assertEqual(settings["ALAYA_INSECURE"], "false")
        with tempfile.TemporaryDirectory() as directory:
            # The secrets, where the test may write.
            settings = {k: v.replace("/etc/alayadb", directory) for k, v in settings.items()}
            for mount in self.container["volumeMounts"]:
                if mount["mountPath"].startswith("/etc/alayadb"):
                    Path(mount["mountPath"].replace("/etc/alayadb", directory)).mkdir(parents=True)
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-subj", "/CN=alayadb", "-keyout", settings["ALAYA_TLS_KEY"],
                            "-out", settings["ALAYA_TLS_CERT"]], check=True, capture_output=True)
            Path(settings["ALAYA_API_KEY_FILES"]).write_text(f"one default write sha256:{'0' * 64}\n")
            self.assertEqual(check_config(settings), (True, ""))

    def test_the_pod_outlives_the_drain(self):
        defaults = subprocess.run([server_binary(), "--print-defaults"], capture_output=True, text=True)
        drain_seconds = int(re.search(r'drain_timeout = "(\d+)s"', defaults.stdout)[1])
        self.assertGreater(self.pod["spec"]["terminationGracePeriodSeconds"], drain_seconds)

    def test_a_real_server_answers_every_probe(self):
        import urllib.request

        with tempfile.TemporaryDirectory() as directory:
            server = ServerProcess(Path(directory))
            metrics = re.search("metrics=(.*)", (Path(directory) / "ports").read_text())[1]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                get = self.container[probe]["httpGet"]
                self.assertEqual(get["port"], "metrics")
                with urllib.request.urlopen(f"http://{metrics}{get['path']}") as response:
                    self.assertEqual(response.status, 200)
            self.assertEqual(server.terminate(), 0)


class SystemdTest(unittest.TestCase):
    unit = DEPLOY / "systemd/alayadb.service"

    def test_systemd_accepts_the_unit(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("systemd is not installed")
        with tempfile.TemporaryDirectory() as directory:
            # It looks for the program, which is not installed here.
            copy = Path(directory) / self.unit.name
            copy.write_text(self.unit.read_text().replace("/usr/bin/alayadb-server", str(server_binary())))
            done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_the_server_says_when_it_serves_and_when_it_drains(self):
        self.assertIn("Type=notify", self.unit.read_text())
        with tempfile.TemporaryDirectory() as directory, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"{directory}/notify")
            manager.settimeout(30)
            os.environ["NOTIFY_SOCKET"] = f"{directory}/notify"
            try:
                server = ServerProcess(Path(directory))
            finally:
                del os.environ["NOTIFY_SOCKET"]
            self.assertIn(b"READY=1", manager.recv(4096).splitlines())
            self.assertEqual(server.terminate(), 0, server.log())
            self.assertIn(b"STOPPING=1", manager.recv(4096).splitlines())

    def test_bad_configuration_does_not_restart(self):
        self.assertIn("RestartPreventExitStatus=2", self.unit.read_text())
        done = subprocess.run([server_binary(), "--listen", "nonsense"], capture_output=True)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
