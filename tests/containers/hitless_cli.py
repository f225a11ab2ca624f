"""`hitless containers …` as an operator runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.containers.engines import PrivateEngine

COMMAND_S = 240.0


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)

    @property
    def first(self) -> Any:
        return self.json["containers"][0]


@dataclass(frozen=True)
class Operator:
    """One who works with one engine; `folder` holds what is under way, and containers.toml."""

    engine: PrivateEngine
    folder: Path

    def words(self, *words: str) -> list[str]:
        own = ["--engine", self.engine.address, "--state-dir", str(self.folder / "state")]
        config = self.folder / "containers.toml"
        if config.exists():
            own += ["--config", str(config)]
        return [sys.executable, "-m", "hitless", "containers", words[0], *own, *words[1:]]

    @property
    def environ(self) -> Mapping[str, str]:
        return {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}

    def configure(self, text: str) -> None:
        path = self.folder / "containers.toml"
        path.write_text(text)
        path.chmod(0o644)

    def run(self, *words: str) -> Said:
        return self._said(self.words(*words))

    def history(self, *words: str) -> Said:
        """It needs no engine."""
        own = ["--state-dir", str(self.folder / "state")]
        return self._said([sys.executable, "-m", "hitless", "containers", "history", *own, *words])

    def _said(self, words: list[str]) -> Said:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            env=self.environ,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.words(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environ
        )
