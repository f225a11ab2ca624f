"""The examples of the documentation are programs that the tests run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall((DOCS / page).read_text()) if found == language]


def run_examples(page: str, directory: Path) -> str:
    """Write the page's TOML files as their first lines name them, run its programs, and give what they print."""
    directory.chmod(0o755)
    for text in blocks(page, "toml"):
        path = directory / text.splitlines()[0].removeprefix("# ")
        path.write_text(text)
        path.chmod(0o644)
    printed = ""
    for program in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    return printed
