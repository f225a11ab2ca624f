"""The settings of one `hitless serve` service: the typed form of `hitless.toml`.

Every key is also a command-line flag (`drain.timeout` is `--drain-timeout`) and an environment variable
(`HITLESS_DRAIN_TIMEOUT`). Every key may change on reload unless its description says otherwise.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from hitless.config.units import Bytes, FileMode, Seconds
from hitless.serve.section import Section
from hitless.serve.sinks import SinkSettings

APP: Final = re.compile(r"paste:.+|-m [^\W\d][\w.]*|[^\W\d][\w.]*:[^\W\d][\w.]*(\(\))?")
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


def _named(app: str) -> str:
    if not APP.fullmatch(app):
        raise ValueError("expected module:attr, module:factory() or paste:FILE#name")
    return app


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
    format: Literal["console", "json"] = Field(
        "console", description="one line of text, or one JSON object, per event"
    )
    file: str | None = Field(
        None, description="log file, re-opened on reload and on SIGUSR1; standard error if unset"
    )
    access: Literal["off", "common", "json"] = Field(
        "off", description="access log: none, the Common Log Format, or JSON objects"
    )


class Limits(Section):
    header_bytes: Bytes = Field(65536, ge=1024, description="request line and headers together; over it: 431")
    headers: Positive = Field(256, description="number of header fields; over it: 431")
    body_bytes: Bytes | None = Field(None, ge=0, description="request body; over it: 413; unlimited if unset")
    concurrency: Positive | None = Field(
        None, description="requests in flight per worker; over it: 503 with Retry-After"
    )
    connections: Positive | None = Field(
        None, description="open connections per worker; at it the worker accepts no more until one closes"
    )
    max_requests: Count = Field(0, description="requests after which a worker is replaced; 0: never")
    max_requests_jitter: Count = Field(
        0, description="random part added to max_requests, so that workers do not retire together"
    )


class Timeouts(Section):
    keep_alive: Seconds = Field(75.0, gt=0, description="an idle connection is closed after this long")
    header: Seconds = Field(
        15.0, gt=0, description="from the first byte of a request to the end of its headers; over it: 408"
    )
    body: Seconds = Field(60.0, gt=0, description="longest silence within a request body; over it: 408")
    write: Seconds = Field(
        60.0, gt=0, description="longest time in which a client takes nothing of a response; then it is cut"
    )


class Drain(Section):
    timeout: Seconds = Field(
        30.0,
        ge=0,
        description="how long the old generation may finish what it has; then it is cut, and counted",
    )
    linger: Seconds = Field(
        5.0,
        ge=0,
        description="how long a connection that cannot be handed over waits for one more request to answer with close",
    )
    stream: Seconds = Field(
        15.0,
        ge=0,
        description="how long WebSockets and event streams go on; then they are closed (1012) or told to end;"
        " at most half of drain.timeout",
    )
    spread: Seconds = Field(
        5.0,
        ge=0,
        description="time over which the ends of streams are spread, so that clients do not all come back at once;"
        " at most a quarter of drain.timeout",
    )


class Start(Section):
    timeout: Seconds = Field(
        60.0, gt=0, description="deadline for a new generation: import, fork, lifespan and health together"
    )
    probation: Seconds = Field(
        60.0,
        ge=0,
        description="how long the old generation's template is kept after a change, for an instant rollback",
    )
    crashes: Positive = Field(
        3, description="workers of a generation on probation that may die before it is rolled back by itself"
    )


class Health(Section):
    path: str | None = Field(
        None, pattern=r"^/", description="requested of every new worker before commit; no request if unset"
    )
    host: str = Field("localhost", description="Host header of the health request")
    timeout: Seconds = Field(10.0, gt=0, description="deadline of one health request")
    status: Annotated[str, Field(pattern=r"^[1-5][0-9x]{2}$")] = Field(
        "2xx", description="accepted status, `204` or `2xx`"
    )


class Reload(Section):
    watch: bool = Field(False, description="reload by itself when the configuration file changes")
    interval: Seconds = Field(
        20.0, gt=0, description="how often the file's content is looked at besides file system events"
    )
    settle: Seconds = Field(
        1.0, ge=0, description="how long the content must have been stable before it is taken"
    )


class Metrics(Section):
    bind: str | None = Field(
        None, description="host:port where Prometheus may scrape; `hitless metrics` works without"
    )


class Tls(Section):
    certificate: str | None = Field(
        None, description="PEM file with the certificate chain; makes every TCP address https"
    )
    key: str | None = Field(None, description="PEM file with the private key")


class ServeSettings(Section):
    """All of `hitless.toml`. Times are seconds, sizes bytes."""

    name: str = Field(
        "hitless",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
        description="what the service is called by commands (fixed while it runs)",
    )
    app: Annotated[str, AfterValidator(_named)] = Field(
        description="module:attr, module:factory() or paste:FILE#name"
    )
    interface: Literal["auto", "asgi", "wsgi", "program"] = Field(
        "auto",
        description="what the application speaks; auto looks at it; program: it is one that runs for long (see hitless run)",
    )
    bind: tuple[str, ...] = Field(
        ("127.0.0.1:8000",),
        min_length=1,
        description="host:port, [ipv6]:port, unix:/path?mode=0660, fd:N, or systemd for the sockets that systemd passed",
    )
    backlog: Positive = Field(2048, description="connections that may wait to be accepted")
    workers: Annotated[int, Field(ge=1, le=512)] = Field(1, description="worker processes")
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(
        8, description="threads per worker for WSGI applications"
    )
    python: str | None = Field(
        None, description="interpreter of the next generation, e.g. another venv's bin/python"
    )
    directory: str | None = Field(
        None, description="working directory of the application; also first on its import path"
    )
    path: tuple[str, ...] = Field((), description="more directories for the import path")
    env: dict[str, str] = Field(default_factory=dict, description="environment variables of the application")
    user: str | None = Field(None, description="user that templates and workers run as")
    group: str | None = Field(None, description="group that templates and workers run as")
    umask: FileMode | None = Field(None, description="umask of templates and workers")
    root_path: str = Field("", description="path prefix under which a proxy serves the application")
    server_name: str = Field("hitless", description="the Server header; empty for none")
    forwarded_allow_ips: tuple[str, ...] = Field(
        ("127.0.0.1", "::1"),
        description="proxies (addresses or networks, or *) whose X-Forwarded-For and -Proto are believed",
    )
    fork: Literal["auto", "never"] = Field(
        "auto",
        description="auto shares one import among workers where that is safe; never imports per worker",
    )
    state_dir: str | None = Field(None, description="where the journal is kept (fixed while it runs)")
    control: str | None = Field(None, description="path of the control socket (fixed while it runs)")
    log: Log = Log()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    drain: Drain = Drain()
    start: Start = Start()
    health: Health = Health()
    reload: Reload = Reload()
    metrics: Metrics = Metrics()
    tls: Tls = Tls()
    notify: tuple[SinkSettings, ...] = Field(
        (), description="who is told when a change begins and how it ended (only in the file)"
    )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens: a program does not."""
        return () if self.interface == "program" else self.bind
