"""`hitless agent check --reach` says which publishers cannot be reached, and where they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.receivers import receiving
from tests.agent.test_formats import written
from tests.servers.ports import free_port

from hitless.agent.plugins import Plugins
from hitless.agent.reaching import unreachable
from hitless.agent.reading import read

DEADLINE_S = 60


def pipeline(folder: Path, *urls: str) -> Path:
    listed = "".join(f"      - {url}\n" for url in urls)
    text = (
        f"sources: [{{name: a, meters: ['*'], sinks: [s]}}]\nsinks:\n  - name: s\n    publishers:\n{listed}"
    )
    return written(folder, text, "pipeline.yaml")


def test_what_can_be_reached_is_not_told_and_the_rest_is_with_its_line(tmp_path: Path) -> None:
    with receiving() as receiver:
        path = pipeline(
            tmp_path,
            f"otlp+http://127.0.0.1:{receiver.port}",
            f"http://me:hush@127.0.0.1:{free_port()}/",
            f"file://{tmp_path}/samples.jsonl",
            f"file://{tmp_path}/missing/samples.jsonl",
            f"sqlite://{tmp_path}",
            f"amqp://127.0.0.1:{free_port()}/",
            "log",
        )
        found = [str(each) for each in unreachable(read([path]), Plugins())]
    assert [each.partition("pipeline.yaml:")[2].partition(":")[0] for each in found] == ["6", "8", "9", "10"]
    assert "Connection refused" in found[0]
    assert "hush" not in found[0]
    assert "there is no folder" in found[1]
    assert not (tmp_path / "samples.jsonl").exists()


@pytest.mark.timeout(240)
def test_the_command_ends_with_1_and_says_so(tmp_path: Path) -> None:
    path = pipeline(tmp_path, f"http://127.0.0.1:{free_port()}/")
    command = [sys.executable, "-m", "hitless", "agent", "check", "--reach", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert "cannot be reached: ConnectionRefusedError" in done.stderr.replace("\n", " ")
