"""What an operator reads: help, usage, tables on a narrow terminal, and why a service did not start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from hitless.cli.app import build
from hitless.demo import DemoReport, StepReport
from hitless.demo.narrator import Told
from serve.service import Service, running, write_app


def said(*arguments: str, columns: int = 200) -> str:
    result = CliRunner().invoke(build(), arguments, env={"COLUMNS": str(columns), "NO_COLOR": "1"})
    return " ".join(result.output.split())


def test_help_names_values_and_defaults() -> None:
    text = said("serve", "--help")
    assert "(auto, asgi, wsgi or program; default: auto)" in text
    assert "(off, common or json; default: off)" in text
    assert "then it is cut, and counted (default: 30)" in text
    assert "[ipv6]:port" in text, "brackets are text, not markup"
    assert "─ TLS ─" in text


def test_usage_is_what_one_types() -> None:
    assert "Usage: hitless scale [OPTIONS] [NAME] WORKERS" in said("scale", "--help")
    assert "Usage: hitless serve [OPTIONS] [APP]" in said("serve", "--help")


def test_the_application_is_an_argument_or_a_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "the configuration is valid" in said("check", "--app", "app:app")
    assert "the application is said twice" in said("check", "app:app", "--app", "other:app")


def test_tables_keep_their_columns_on_a_narrow_terminal(tmp_path: Path) -> None:
    write_app(tmp_path)
    with running(tmp_path, name="api", workers=2) as service:
        assert service.reload().code == 0
        write_app(
            tmp_path,
            prefix="raise RuntimeError('a message that is longer than the terminal is wide, and told whole')",
        )
        assert service.reload().code == 3
        status = service.command("status", "api").out.splitlines()
        assert "generation 1 is kept for rollback" in status
        heads = next(line for line in status if line.startswith("generation  state"))
        assert cell_len(heads) <= 80
        history = service.command("history", "api").out.splitlines()
        assert [line.split()[0] for line in history if not line.startswith(" ")] == ["#", "3", "2", "1"]
        assert history[0].split()[1] == "when"
        assert any(line.startswith("  loading app:app failed") and "told whole" in line for line in history)


def test_a_refused_release_shows_the_frames_of_the_application_alone(tmp_path: Path) -> None:
    write_app(tmp_path)
    with running(tmp_path, name="api") as service:
        write_app(tmp_path, prefix="import nothing_like_this")
        told = service.command("reload", "api")
        assert told.code == 3
        assert told.err.count('File "') == 1
        assert f'File "{tmp_path}/app.py", line 1' in told.err


def test_who_starts_a_service_that_cannot_start_is_told_although_it_logs_to_a_file(tmp_path: Path) -> None:
    write_app(tmp_path, prefix="import nothing_like_this")
    service = Service(tmp_path)
    service.configure(
        app="app:app", bind=["127.0.0.1:0"], state_dir=str(tmp_path / "state"), log__file="own.log"
    )
    service.start(expect=1)
    assert "hitless: not started (import_failed)" in service.log
    assert f'File "{tmp_path}/app.py", line 1' in service.log


def test_the_demo_says_what_it_lacks() -> None:
    program = (
        "import sys; sys.modules['uvloop'] = None; sys.argv = ['hitless', 'demo'];"
        " from hitless.cli import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "hitless: the demo needs uvloop; install it with: pip install 'hitless[serve]'\n"


def test_the_table_of_the_demo_fits() -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    steps = (
        StepReport("storage path and workers", "applied, generation 2", 300, max_ms=12.0),
        StepReport("broken configuration", "rejected: configuration_invalid", 300, max_ms=1234.0),
    )
    Told(console).closed(DemoReport("serve", steps))
    lines = [line for line in console.export_text().splitlines() if line.strip()]
    assert len(lines) == 5, lines
    assert "…" not in "".join(lines)
