"""The temporary folder in which the demonstration's service lives: its code, its configuration, its data."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CODE = "imagestore/version.py"
CONFIG = "hitless.toml"
LONGEST_TMPDIR = 64


@dataclass(frozen=True, slots=True)
class Place:
    """A copy of the image store, and what an operator does to it with an editor."""

    root: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.root / CONFIG

    @property
    def log(self) -> Path:
        return self.root / "service.log"

    def data(self, name: str) -> Path:
        """A storage path."""
        return self.root / name

    def configure(self, **values: object) -> None:
        """Edit keys of hitless.toml; `env__X` is X under [env].

        Raises:
            LookupError: the file has no such key.
        """
        text = self.config.read_text()
        for key, value in values.items():
            text = edited(text, key.split("__"), value)
        self.config.write_text(text)

    def append(self, line: str) -> str:
        """Put a line at the top of hitless.toml; the text as it was before."""
        before = self.config.read_text()
        self.config.write_text(f"{line}\n{before}")
        return before

    def release(self, version: str, *, also: str = "") -> None:
        """Write new code: another version, and perhaps a line that breaks it."""
        file = self.root / CODE
        above = file.read_text().partition("VERSION = ")[0]
        file.write_text(f'{above}VERSION = "{version}"\n{also}')


@contextmanager
def place() -> Iterator[Place]:
    """A fresh one on a free port; removed on leaving."""
    with temporary() as root:
        shutil.copytree(
            example(), root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "fleet")
        )
        made = Place(root, _free_port())
        made.config.chmod(0o600)
        yield made


@contextmanager
def temporary() -> Iterator[Path]:
    """A fresh folder whose path is short enough for sockets; removed on leaving."""
    # The control socket's whole path has at most 107 bytes.
    short = "/tmp" if len(tempfile.gettempdir()) > LONGEST_TMPDIR else None
    with tempfile.TemporaryDirectory(prefix="hitless-demo-", dir=short) as folder:
        yield Path(folder)


def example(name: str = "imagestore") -> Path:
    """An example's folder: beside this file in a wheel, in examples/ in a checkout.

    Raises:
        FileNotFoundError: it is in neither.
    """
    here = Path(__file__).resolve()
    for found in (here.parent / name, here.parents[3] / "examples" / name):
        if (found / name).is_dir():
            return found
    raise FileNotFoundError(f"the example {name} is not installed; install hitless again")


def edited(text: str, key: list[str], value: object) -> str:
    """`text`, a TOML file of simple values, with another value for one key.

    Raises:
        LookupError: there is no such key.
    """
    *table, name = key
    lines, inside = text.splitlines(), ""
    for number, line in enumerate(lines):
        if header := re.match(r"\[([^\[\]]+)\]", line):
            inside = header[1]
        if inside == ".".join(table) and re.match(rf"{re.escape(name)}\s*=", line):
            lines[number] = f"{name} = {_toml(value)}"
            return "\n".join(lines) + "\n"
    raise LookupError(f"no key {'.'.join(key)} in {CONFIG}")


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
