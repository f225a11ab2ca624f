"""`hitless agent check | plan | plugins` on files, without an agent."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from cli import test_check
from hitless.cli.app import build

POLLING = "sources:\n  - {name: host, interval: 5, meters: [host.load.*]}\n"
PIPELINE = """\
sources:
  - {name: all, meters: ["*"], sinks: [archive]}
sinks:
  - {name: archive, publishers: ["log://"]}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build(), ["agent", *arguments])


def folder(at: Path, polling: str = POLLING, pipeline: str = PIPELINE) -> Path:
    at.mkdir()
    (at / "polling.yaml").write_text(polling)
    (at / "pipeline.yaml").write_text(pipeline)
    for file in at.iterdir():
        file.chmod(0o644)
    return at


def test_a_good_definition_is_called_valid_and_counted(tmp_path: Path) -> None:
    done = test_check.run(tmp_path, "agent", "check", str(folder(tmp_path / "good")))
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 polling sources, 1 pipelines, 1 publishers" in done.stdout


def test_what_is_wrong_is_told_with_its_place_and_exit_code_2(tmp_path: Path) -> None:
    at = folder(tmp_path / "bad", POLLING.replace("interval: 5", "interval: 0"))
    done = run("check", str(at / "polling.yaml"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "polling.yaml:2: sources[0].interval: expected more than 0, got 0" in done.stderr
    told = json.loads(run("check", "--json", str(at)).stdout)
    assert told["valid"] is False
    assert told["problems"][0]["key"] == "sources[0].interval"


def test_what_is_not_installed_is_refused_unless_only_the_format_is_asked_for(tmp_path: Path) -> None:
    at = str(folder(tmp_path / "theirs", pipeline=PIPELINE.replace("log://", "gnocchi://")))
    done = run("check", at)
    assert done.exit_code == 2
    assert "there is no publisher gnocchi; install its package" in done.stderr
    assert run("check", "--format-only", at).exit_code == 0


def test_files_that_others_may_write_are_refused_unless_allowed(tmp_path: Path) -> None:
    at = folder(tmp_path / "open")
    (at / "polling.yaml").chmod(0o666)
    done = run("check", str(at))
    assert done.exit_code == 2
    assert "may be written by everybody" in done.stderr
    assert run("check", "--allow-writable", str(at)).exit_code == 0


def test_a_plan_says_what_would_change(tmp_path: Path) -> None:
    old = folder(tmp_path / "old")
    new = folder(tmp_path / "new", POLLING.replace("interval: 5", "interval: 6"))
    done = run("plan", str(old), str(new))
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "~ polling source host",
        "    interval: 5 → 6",
        "3 stay as they are",
    ]
    told = json.loads(run("plan", "--json", str(old), str(new)).stdout)
    assert told["counts"] == {"added": 0, "changed": 1, "kept": 3, "removed": 0}
    assert told["old_hash"] != told["new_hash"]
    same = run("plan", str(old), str(old))
    assert "nothing to change" in same.stdout


def test_a_plan_towards_something_invalid_is_refused(tmp_path: Path) -> None:
    old = folder(tmp_path / "old")
    new = folder(tmp_path / "new", pipeline=PIPELINE.replace("[archive]", "[archiv]"))
    done = run("plan", str(old), str(new))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "there is no sink archiv" in done.stderr


def test_what_is_installed_is_listed(tmp_path: Path) -> None:
    done = run("plugins", "--json")
    told = json.loads(done.stdout)
    assert "host.load.1min" in told["pollster"]
    assert {"file", "log", "sqlite"} <= set(told["publisher"])
