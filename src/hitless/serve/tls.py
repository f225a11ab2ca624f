"""The server's TLS context, in the worker."""

from __future__ import annotations

import os
from typing import Any


def tls_context(pem: dict[str, str] | None) -> Any:
    """None without a certificate. The files were read by the supervisor, which may be allowed to; we need not be."""
    if pem is None:
        return None
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    files = {name: os.memfd_create(f"hitless-{name}", os.MFD_CLOEXEC) for name in ("certificate", "key")}
    try:
        for name, fd in files.items():
            os.write(fd, pem[name].encode())
        context.load_cert_chain(f"/proc/self/fd/{files['certificate']}", f"/proc/self/fd/{files['key']}")
    finally:
        for fd in files.values():
            os.close(fd)
    context.set_alpn_protocols(["http/1.1"])
    return context
