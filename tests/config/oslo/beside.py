"""What oslo.config makes of a changed file, for a program that shows it beside what Hitless does."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oslo_config import cfg


class Oslo:
    """A service that reads its options as oslo.config wants it, and is told to mutate."""

    def __init__(self, path: Path, listed: Iterable[tuple[Any, Iterable[cfg.Opt]]]) -> None:
        self._conf = cfg.ConfigOpts()
        for group, options in listed:
            self._conf.register_opts(options, group=None if group == "DEFAULT" else group)
        self._conf(["--config-file", str(path)], project="service")

    def mutated(self, *read: str) -> dict[str, Any]:
        """What `mutate_config_files` returns or raises and logs, and what reading these options does after it."""
        with Listening() as logged:
            try:
                fresh = self._conf.mutate_config_files()
            except cfg.Error as error:
                return {"mutate": f"{type(error).__name__}: {error}"}
        changed = {f"{group or 'DEFAULT'}.{name}": list(values) for (group, name), values in fresh.items()}
        return {"mutate": changed, "read": {path: self._read(path) for path in read}, "logged": logged.lines}

    def _read(self, path: str) -> Any:
        group, _, name = path.rpartition(".")
        try:
            return getattr(getattr(self._conf, group) if group else self._conf, name)
        except (cfg.Error, ValueError) as error:
            return f"{type(error).__name__}: {error}"


class Listening(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> Listening:
        logging.getLogger("oslo_config").addHandler(self)
        logging.getLogger("oslo_config").setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("oslo_config").removeHandler(self)
