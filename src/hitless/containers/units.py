"""systemd units that run containers: how long each lets its container take to stop."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitless.containers.container import Container

DIRECTORIES: Final = (
    Path("/etc/systemd/system"),
    Path("/run/systemd/system"),
    Path("/run/systemd/generator"),
    Path("/usr/lib/systemd/system"),
)
DEFAULT_STOP_S: Final = 90.0
"""systemd's DefaultTimeoutStopSec."""
SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?)?\b")
UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
STOPS: Final = re.compile(r"\bstop\b.*?(?:-t|--time|--timeout)[ =](\d+)")


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit says about stopping its container."""

    path: Path
    stop_s: float
    """TimeoutStopSec: when systemd kills what is left."""
    engine_s: float | None
    """What its ExecStop allows the engine, if it says so."""


def unit_of(container: Container, directories: Sequence[Path] = DIRECTORIES) -> Unit | None:
    """The unit that runs this container, or None."""
    named = container.labels.get("PODMAN_SYSTEMD_UNIT")
    runs = re.compile(
        rf"^Exec(?:Start|Stop)=.*\b(?:docker|podman)\b.*(?<![\w.-]){re.escape(container.name)}(?![\w.-])",
        re.M,
    )
    for path in _units(directories):
        text = _text(path)
        if path.name == named or runs.search(text):
            return _parsed(path, text)
    return None


def _units(directories: Sequence[Path]) -> Iterator[Path]:
    seen = set()
    for directory in directories:
        for path in sorted(directory.glob("*.service")):
            if path.name not in seen:  # an earlier directory wins
                seen.add(path.name)
                yield path


def _text(path: Path) -> str:
    """The unit with its drop-ins."""
    parts = [path, *sorted(path.with_name(f"{path.name}.d").glob("*.conf"))]
    texts = []
    for part in parts:
        try:
            texts.append(part.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts).replace("\\\n", " ")


def _parsed(path: Path, text: str) -> Unit:
    said = re.findall(r"^Timeout(?:Stop)?Sec=(.*)$", text, re.M)
    engine = STOPS.search("\n".join(re.findall(r"^ExecStop=(.*)$", text, re.M)))
    return Unit(path, _seconds(said[-1]) if said else DEFAULT_STOP_S, float(engine[1]) if engine else None)


def _seconds(text: str) -> float:
    """systemd's time spans: `90`, `1min 30s`, `infinity`."""
    if text.strip() in ("infinity", "0"):
        return float("inf")
    return sum(float(number) * UNITS[_unit(unit)] for number, unit in SPAN.findall(text))


def _unit(text: str) -> str:
    return text if text in UNITS else (text[:1] or "s")
