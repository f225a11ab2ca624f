"""`hitless unit`: a unit that systemd takes."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.test_check import run


def unit_of(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_unit_serves_reloads_and_stops_this_service(tmp_path: Path) -> None:
    (tmp_path / "hitless.toml").write_text('app = "app:app"\nname = "api"\ndrain.timeout = "45s"\n')
    done = run(tmp_path, "unit")
    assert done.returncode == 0, done.stderr
    service = unit_of(done.stdout)["Service"]
    hitless = f"{sys.executable} -m hitless"
    assert service["ExecStart"] == f"{hitless} serve -c {tmp_path}/hitless.toml"
    assert service["ExecReload"] == f"{hitless} reload api"
    assert service["ExecStop"] == f"{hitless} stop api"
    assert service["Type"] == "notify"
    assert service["WorkingDirectory"] == str(tmp_path)
    assert int(service["TimeoutStopSec"]) > 45, "the drain comes to its end before systemd loses patience"


def test_flags_that_are_special_to_systemd_are_quoted(tmp_path: Path) -> None:
    control = tmp_path / "c.sock"
    given = ["--env", "A=50% of $B", "--reload-watch", "--control", str(control), "--bind", "127.0.0.1:1"]
    service = unit_of(run(tmp_path, "unit", "app:app", *given).stdout)["Service"]
    assert "--env 'A=50%% of $$B'" in service["ExecStart"]
    assert "--reload-watch" in service["ExecStart"]
    assert service["ExecReload"].endswith(f" reload {control}"), "found where it is, not where it would be"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "api.service"
    file.write_text(run(tmp_path, "unit", "app:app", "--name", "api", "--env", "A=50% of $B").stdout)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    about_it = [line for line in done.stderr.splitlines() if "api.service" in line]
    assert about_it == []


def test_an_invalid_configuration_makes_no_unit(tmp_path: Path) -> None:
    done = run(tmp_path, "unit", "app:app", "--workers", "none")
    assert (done.returncode, done.stdout) == (2, "")
