"""Interpreters in which a service's own packages are installed, once per session; hitless is seen from them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serve.venvs import make_venv

HERE = Path(__file__).parent
INSTALL_S = 600
RUN_S = 300

Ask = Callable[..., Any]
"""Runs a program of this directory, and gives what it prints as JSON."""


def installed(folder: Path, *arguments: str) -> Path:
    """A venv with packages from the index that pip is configured for; returns its interpreter."""
    python = make_venv(folder)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-compile"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", *arguments], capture_output=True, text=True, timeout=INSTALL_S
    )
    if done.returncode:
        pytest.fail(f"pip could not install {' '.join(arguments)}:\n{done.stderr}")
    return python


def asking(python: Path) -> Ask:
    def ask(program: str, *arguments: str) -> Any:
        done = subprocess.run(
            [python, HERE / program, *arguments], capture_output=True, text=True, timeout=RUN_S
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return ask


@pytest.fixture(scope="session")
def glance(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    folder = tmp_path_factory.mktemp("glance") / "venv"
    return asking(installed(folder, "--no-deps", "-r", str(HERE / "glance.txt")))


@pytest.fixture(scope="session")
def cinder(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """With the libraries of the drivers whose options are listed."""
    folder = tmp_path_factory.mktemp("cinder") / "venv"
    drivers = ("google-api-python-client", "google-auth-httplib2", "boto3", "python-swiftclient")
    return asking(installed(folder, "cinder==29.0.0", *drivers))
