# SPDX-License-Identifier: Apache-2.0
"""What pip fetches, from an index whose certificate only this machine's administrator knows."""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
# As packaging/try does it; other settings of the machine's pip do not count.
FETCH = """
if [ -e /etc/pip.conf ]; then mount --bind /dev/null /etc/pip.conf; fi
. packaging/lib.sh
pydantic_from=pypi
prepare_program "$1"
"""
# pip explains what was wrong with a certificate only when it retries.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PIP_RETRIES": "1"}
SIMPLE = "/simple/"


class Index(NamedTuple):
    """An index without packages; ``asked``: the paths that a client who trusts ``certificate`` requested."""

    url: str
    certificate: Path
    asked: list[str]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_words: object) -> None:
            pass

    certificate, key = tmp_path / "index.crt", tmp_path / "index.key"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run(
        [*make, "-addext", "subjectAltName=DNS:localhost", "-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Index(f"https://localhost:{server.server_port}{SIMPLE}", certificate, asked)
        server.shutdown()
        thread.join()


def fetch(index: Index, scratch: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["unshare", "--mount", "bash", "-euo", "pipefail", "-c", FETCH, "packaging/try", scratch],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**ENVIRONMENT, "HOME": str(scratch), "PIP_INDEX_URL": index.url, **variables},
        timeout=120,
    )


@pytest.mark.parametrize("name", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_usual_variables_select_the_trusted_certificates(index: Index, tmp_path: Path, name: str) -> None:
    result = fetch(index, tmp_path, **{name: str(index.certificate)})
    assert index.asked != [], result.stderr
    assert all(path.startswith(SIMPLE) for path in index.asked)


def test_for_an_untrusted_certificate_it_names_the_variable_to_set(index: Index, tmp_path: Path) -> None:
    result = fetch(index, tmp_path)
    assert result.returncode == 1
    assert index.asked == []
    assert "CERTIFICATE_VERIFY_FAILED" in result.stderr
    assert "sudo env PIP_CERT=<file with the certificates to trust> packaging/try\n" in result.stderr
