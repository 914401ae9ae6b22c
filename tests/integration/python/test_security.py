"""A server with certificates and keys, as the package's users reach it."""

import hashlib
import subprocess

import pytest

import alayadb


@pytest.fixture
def files(tmp_path):
    """A certificate that is its own authority, and a key file."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1,DNS:elsewhere",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True)
    lines = [f"{role} {role}-tenant {role} sha256:{hashlib.sha256(f'alaya_{role}'.encode()).hexdigest()}\n"
             for role in ("read", "admin")]
    (tmp_path / "keys").write_text("".join(lines))
    return tmp_path


def test_a_certificate_and_a_key_open_the_door(start_server, files):
    server = start_server("--tls-cert", str(files / "cert.pem"), "--tls-key", str(files / "key.pem"),
                          "--api-key-files", str(files / "keys"))
    tls = alayadb.Tls(ca=files / "cert.pem")

    with server.connect(tls=tls, api_key="alaya_admin") as db:
        model = db.register_model("m", num_layers=1, num_query_heads=2, num_kv_heads=1, head_dim=8)
        # A stream of requests carries the key, too.
        with db.create_session("m", [1]) as session:
            assert session.reused_tokens == 0
    with server.connect(tls=tls, api_key="alaya_read") as db:
        assert [each.name for each in db.models()] == [model.name]
        with pytest.raises(alayadb.PermissionDeniedError) as error:
            db.stats()
        assert error.value.reason == "ROLE_TOO_LOW"
    with pytest.raises(alayadb.PermissionDeniedError, match="API key is not one of this server's"):
        server.connect(tls=tls, api_key="alaya_guess")
    with server.connect(tls=alayadb.Tls(ca=files / "cert.pem", server_name="elsewhere"),
                        api_key="alaya_read") as db:
        assert db.models()
    with pytest.raises(alayadb.UnavailableError):
        server.connect(api_key="alaya_read", connect_timeout=1.5)


def test_a_key_goes_over_a_unix_socket(start_server, files):
    server = start_server("--api-key-files", str(files / "keys"), listen=f"unix:{files}/socket")

    with server.connect(api_key="alaya_read") as db:
        assert list(db.models()) == []


def test_half_of_a_client_certificate_is_refused(files):
    with pytest.raises(ValueError, match="together"):
        alayadb.connect("127.0.0.1:1", tls=alayadb.Tls(cert=files / "cert.pem"))
