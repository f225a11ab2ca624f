"""Documents below a key prefix of etcd, as a source of settings: `conf.d` for many hosts."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel

from hitless.config.content import content_hash
from hitless.config.directory import PARSERS
from hitless.config.document import Document
from hitless.config.etcd.gateway import EtcdError, Gateway, Pair, Reading
from hitless.config.etcd.watch import EtcdWatcher
from hitless.config.file import SIZE_LIMIT
from hitless.config.keys import KeyPath
from hitless.config.overlay import laid_over
from hitless.config.problems import ConfigError, Problem, SourceUnreachable
from hitless.config.provenance import Provenance
from hitless.config.sources import Layer, Origin, Version


@dataclass(frozen=True, slots=True)
class EtcdPrefix:
    """Every key below `prefix` is a document, `NAME.toml`, `NAME.yaml` or `NAME.yml`, in the order of the keys; later ones win.

    All of them are read at one revision, so that a transaction over several keys is seen whole. A prefix without keys is
    refused unless it need not be `required`: somebody has deleted too much, or it is the wrong cluster.
    """

    prefix: str
    """`/volumes/`; without the slash at the end, `/volumes-of-others/a.toml` would be one of them."""
    endpoints: Sequence[str] = ("http://127.0.0.1:2379",)
    timeout_s: float = 5.0
    """For one call, over all endpoints."""
    required: bool = True
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """For https endpoints: the authority that is trusted, the client's own certificate."""

    def __post_init__(self) -> None:
        if not self.prefix.strip("/"):
            raise ValueError("expected a prefix such as /volumes/; the whole of etcd is nobody's settings")
        self.gateway()

    @property
    def name(self) -> str:
        return f"etcd:{self.prefix}"

    def gateway(self) -> Gateway:
        return Gateway(self.endpoints, self.timeout_s, self.tls)

    def read(self) -> Reading:
        """Raises EtcdError."""
        return self.gateway().read(self.prefix)

    def layer(self, model: type[BaseModel]) -> Layer:  # noqa: ARG002
        try:
            reading = self.read()
        except EtcdError as error:
            raise SourceUnreachable([Problem(self.name, "", str(error))]) from None
        if not reading.pairs and self.required:
            raise ConfigError([Problem(self.name, "", "has no keys below it")])
        layers: list[Layer] = []
        problems: list[Problem] = []
        for pair in reading.pairs:
            try:
                layers.append(_layer(pair))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        data = laid_over(layer.data for layer in layers)
        version = Version(self.name, str(reading.revision), hash_of(reading))
        return Layer(data, Provenance(layers).origin, self.name, version=version)

    def watcher(
        self, *, interval_s: float, settle_s: float, applied: Version | None, **options: Any
    ) -> EtcdWatcher:
        """Watches the prefix; `applied` is what serves."""
        return EtcdWatcher(
            self.name,
            self.gateway(),
            self.prefix,
            hash_of,
            interval_s=interval_s,
            settle_s=settle_s,
            applied=None if applied is None else applied.hash,
            revision=None if applied is None else applied.number,
            **options,
        )


def hash_of(reading: Reading) -> str:
    """SHA-256 of what is there: the same after a change and a change back, whatever the revision."""
    return content_hash(each for pair in reading.pairs for each in (pair.key.encode(), pair.value))


def _layer(pair: Pair) -> Layer:
    name = f"etcd:{pair.key}"
    parse = PARSERS.get(PurePosixPath(pair.key).suffix)
    if parse is None:
        raise ConfigError([Problem(name, "", f"is no document; call it by its format: {', '.join(PARSERS)}")])
    if len(pair.value) > SIZE_LIMIT:
        raise ConfigError([Problem(name, "", f"is larger than {SIZE_LIMIT // 1024 // 1024} MiB")])
    try:
        text = pair.value.decode()
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(name, "", f"is not UTF-8 at byte {error.start}")]) from None
    document = parse(text, name)
    return Layer(document.data, _Origins(name, text, document), name)


@dataclass(frozen=True, slots=True)
class _Origins:
    name: str
    text: str
    document: Document

    def __call__(self, path: KeyPath) -> Origin:
        line = self.document.line(path)
        lines = self.text.splitlines()
        if line is None or line > len(lines):
            return Origin("etcd", self.name)
        return Origin("etcd", f"{self.name}:{line}", lines[line - 1].strip())
