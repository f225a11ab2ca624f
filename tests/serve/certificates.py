"""Self-signed certificates, made by the openssl command."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for localhost with the organisation `name`, and its private key, which only the owner may read."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", f"/O={name}/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    certificate.chmod(0o600)
    return certificate, key


def trusting(*certificates: Path) -> ssl.SSLContext:
    """A client's context that trusts these and no others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for each in certificates:
        context.load_verify_locations(each)
    return context


def organisation(sock: ssl.SSLSocket) -> str:
    """The organisation in the certificate that the server showed."""
    shown = sock.getpeercert()
    assert shown
    return next(value for ((name, value),) in shown["subject"] if name == "organizationName")  # type: ignore[misc]
