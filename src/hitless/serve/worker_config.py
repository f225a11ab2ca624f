"""What a template and its workers are given of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hitless.change import Refused, digest, is_out_of_descriptors
from hitless.serve.settings import ServeSettings
from hitless.serve.templates import Launch


def basis(settings: ServeSettings) -> str:
    """Digest of all that processes started now would be given, certificates included: another one needs other processes.

    Raises:
        Refused: they could not be started.
    """
    launch = Launch.of(settings)
    return digest({"config": worker_config(settings, 0, launch.directory), "launch": repr(launch)})


def worker_config(settings: ServeSettings, generation: int, directory: str) -> dict[str, Any]:
    """What a template and its workers need to know, as JSON-able values."""
    limits, timeouts = settings.limits, settings.timeouts
    return {
        "name": settings.name,
        "generation": generation,
        "app": settings.app,
        "interface": settings.interface,
        "path": [directory, *settings.path],
        "connections": limits.connections,
        "max_requests": limits.max_requests,
        "max_requests_jitter": limits.max_requests_jitter,
        "drain_timeout": settings.drain.timeout,
        "log": {"level": settings.log.level, "format": settings.log.format},
        "tls": _read_tls(settings),
        "http": {
            "interface": settings.interface,
            "threads": settings.threads,
            "root_path": settings.root_path,
            "server_name": settings.server_name,
            "forwarded_allow_ips": list(settings.forwarded_allow_ips),
            "access": settings.log.access,
            "header_bytes": limits.header_bytes,
            "headers": limits.headers,
            "body_bytes": limits.body_bytes,
            "concurrency": limits.concurrency,
            "keep_alive": timeouts.keep_alive,
            "header_timeout": timeouts.header,
            "body_timeout": timeouts.body,
            "write_timeout": timeouts.write,
            "linger": settings.drain.linger,
            "stream": min(settings.drain.stream, settings.drain.timeout / 2),
            "spread": min(settings.drain.spread, settings.drain.timeout / 4),
            "multiprocess": settings.workers > 1,
        },
    }


def _read_tls(settings: ServeSettings) -> dict[str, str] | None:
    tls = settings.tls
    if tls.certificate is None and tls.key is None:
        return None
    if tls.certificate is None or tls.key is None:
        raise Refused(
            "tls_invalid", "tls.certificate and tls.key belong together; one is not set", invalid=True
        )
    try:
        return {"certificate": Path(tls.certificate).read_text(), "key": Path(tls.key).read_text()}
    except OSError as error:
        if is_out_of_descriptors(error):
            raise
        raise Refused("tls_invalid", f"cannot read {error.filename}: {error.strerror}") from error
    except ValueError as error:  # not text, or a path with a NUL
        raise Refused(
            "tls_invalid", f"cannot read {tls.certificate} and {tls.key} as PEM files: {error}"
        ) from error
