"""`hitless check`: every key can be said in every way, and one can see which way won."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hitless.cli.flags import flag, keys
from hitless.serve.settings import ServeSettings

VALUES: dict[str, tuple[Any, Any]] = {
    # key: what is written, and what check shows
    "name": ("api", "api"),
    "app": ("other:app", "other:app"),
    "interface": ("wsgi", "wsgi"),
    "bind": ("127.0.0.1:1,[::1]:2", ["127.0.0.1:1", "[::1]:2"]),
    "backlog": ("7", 7),
    "workers": ("3", 3),
    "threads": ("5", 5),
    "python": ("/usr/bin/python3", "/usr/bin/python3"),
    "directory": ("/srv", "/srv"),
    "path": ("/a,/b", ["/a", "/b"]),
    "env": ("A=1", {"A": "1"}),
    "user": ("nobody", "nobody"),
    "group": ("daemon", "daemon"),
    "umask": ("0027", "0027"),
    "root_path": ("/prefix", "/prefix"),
    "server_name": ("x", "x"),
    "forwarded_allow_ips": ("10.0.0.0/8", ["10.0.0.0/8"]),
    "fork": ("never", "never"),
    "state_dir": ("/var/x", "/var/x"),
    "control": ("/run/x.sock", "/run/x.sock"),
    "log.level": ("debug", "debug"),
    "log.format": ("json", "json"),
    "log.file": ("/tmp/log", "/tmp/log"),
    "log.access": ("common", "common"),
    "limits.header_bytes": ("8KiB", 8192),
    "limits.body_bytes": ("1MB", 1_000_000),
    "health.path": ("/up", "/up"),
    "health.host": ("api.example", "api.example"),
    "health.status": ("204", "204"),
    "reload.watch": ("true", True),
    "metrics.bind": ("127.0.0.1:9100", "127.0.0.1:9100"),
    "tls.certificate": ("/c.pem", "/c.pem"),
    "tls.key": ("/k.pem", "/k.pem"),
}
"""The others are numbers or times, and take one."""
NUMBER = ("11", 11)
ALL = {key: VALUES.get(key, NUMBER) for key, _ in keys(ServeSettings)}


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HITLESS_")}
    command = [sys.executable, "-m", "hitless", *arguments]
    env = {**clean, **environ, "HITLESS_RUN_DIR": str(folder / "run"), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def shown(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[Any, str]]:
    assert done.returncode == 0, done.stderr
    return {row["key"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)["settings"]}


def expect(found: dict[str, tuple[Any, str]], origin_of: dict[str, str]) -> None:
    for key, (_, value) in ALL.items():
        if key == "env":
            assert found["env.A"] == ("1", origin_of[key])
        else:
            assert found[key] == (value, origin_of[key])


def variable(key: str) -> str:
    return "HITLESS_" + key.replace(".", "_").upper()


def test_every_key_is_a_flag(tmp_path: Path) -> None:
    given = [part for key, (text, _) in ALL.items() for part in as_flag(key, text)]
    found = shown(run(tmp_path, "check", "other:app", "--json", *given))
    expect(found, {key: flag(key) for key in ALL})


def as_flag(key: str, text: str) -> list[str]:
    if key == "app":
        return []
    if key == "reload.watch":
        return [flag(key)]
    if key in ("bind", "path"):
        return [part for item in text.split(",") for part in (flag(key), item)]  # a list's flag is repeated
    return [flag(key), text]


def test_every_key_is_an_environment_variable(tmp_path: Path) -> None:
    found = shown(run(tmp_path, "check", "--json", **{variable(key): text for key, (text, _) in ALL.items()}))
    expect(found, {key: variable(key) for key in ALL})


def test_every_flag_is_described_by_help(tmp_path: Path) -> None:
    text = run(tmp_path, "serve", "--help").stdout
    for key, _ in keys(ServeSettings):
        if key != "app":
            assert flag(key) in text
    assert "--no-reload-watch" in text


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "hitless.toml").write_text('app = "app:app"\nthreads = 2\n\nworkers = 2\nbacklog = 2\n')
    environ = {"HITLESS_WORKERS": "3", "HITLESS_BACKLOG": "3"}
    found = shown(run(tmp_path, "check", "--json", "--backlog", "4", **environ))
    assert found["server_name"] == ("hitless", "default")
    assert found["threads"] == (2, "hitless.toml:2")
    assert found["workers"] == (3, "HITLESS_WORKERS")
    assert found["backlog"] == (4, "--backlog")
    table = run(tmp_path, "check", "--explain", "--backlog", "4", **environ).stdout
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.count(" ") > 1}
    assert rows["workers"] == ["3", "HITLESS_WORKERS"]
    assert rows["threads"] == ["2", "hitless.toml:2"]
    assert rows["server_name"] == ['"hitless"', "default"]


def test_the_hash_is_that_of_the_values_not_of_how_they_were_said(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('app = "app:app"\n[drain]\ntimeout = "1m"  # a minute\n')
    (tmp_path / "b.toml").write_text('drain.timeout = 60\napp = "app:app"\n')
    hashes = [
        json.loads(run(tmp_path, "check", "--json", "-c", f"{name}.toml").stdout)["hash"] for name in "ab"
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workers = 'two'", "hitless.toml:2: workers"),
        ("wrokers = 2", "did you mean workers"),
        ('bind = ["127.0.0.1"]', "write host:port"),
        ('bind = ["[::1]:1", "[::1]:1"]', "twice"),
        ("workers = 2\nworkers = 3", "hitless.toml"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_exit_code_2(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "hitless.toml").write_text(f'app = "app:app"\n{text}\n')
    done = run(tmp_path, "check")
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""


def test_a_valid_configuration_is_called_valid(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "app:app", "--bind", "systemd")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the configuration is valid" in done.stdout
