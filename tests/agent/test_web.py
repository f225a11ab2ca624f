"""What http:// and https:// publishers send is a list of samples as JSON."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
from pathlib import Path

import pytest
from tests.agent.receivers import receiving
from tests.agent.test_otlp import SAMPLES, publisher

from hitless.agent.event import Event
from hitless.agent.publishers.failures import Unreachable


def test_certificates_that_cannot_be_read_refuse_the_change() -> None:
    with pytest.raises(FileNotFoundError):
        publisher("https://127.0.0.1:1/?verify_ssl=/nowhere.pem")


def test_a_server_whose_certificate_nobody_knows_is_not_spoken_to_unless_told(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with receiving(context=context) as receiver:
        at = f"https://127.0.0.1:{receiver.port}/?verify_ssl="
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            publisher(f"{at}true").publish(SAMPLES)
        for trusted in ("false", certificate):
            made = publisher(f"{at}{trusted}")
            made.publish(SAMPLES[:1])
            made.close()
    assert len(receiver.taken) == 2


def test_a_batch_is_one_post_of_a_json_list_with_the_rest_of_the_query_as_it_was() -> None:
    with receiving() as receiver:
        made = publisher(
            f"http://me:s%40crt@127.0.0.1:{receiver.port}/a%2Fb?timeout=3s&tenant=x&gzip&tenant=y"
        )
        made.publish(SAMPLES[:2])
        made.publish_events([Event("1", "vm.create", 0.0, {"host": "a", "size": 3})])
        made.close()
    first, second = receiver.taken
    assert first.path == "/a%2Fb?tenant=x&tenant=y"
    assert first.headers["authorization"] == "Basic " + base64.b64encode(b"me:s@crt").decode()
    assert json.loads(first.plain) == [each.to_json() for each in SAMPLES[:2]]
    assert json.loads(second.plain)[0]["traits"] == [["host", 1, "a"], ["size", 2, 3]]
