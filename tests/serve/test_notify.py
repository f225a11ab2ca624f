"""`[[notify]]`: who is told of the changes of a service, whoever asked for them, and whatever becomes of the sink."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serve.clients import tell
from serve.live_apps import write_settings, write_shop
from serve.service import running, wait_for, write_app

pytestmark = pytest.mark.timeout(600)  # many processes are started, perhaps on a busy machine

KEEP = {"kind": "command", "command": ["sh", "-c", "cat >> told"], "timeout": "60s"}
FAIL = {"kind": "command", "command": ["sh", "-c", "exit 3"], "timeout": "60s"}
HANG = {
    "kind": "command",
    "command": ["sh", "-c", "echo $$ >> hangs; exec sleep 600"],
    "timeout": "600s",
}


def told(folder: Path) -> list[dict[str, Any]]:
    path = folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kinds(folder: Path) -> list[str]:
    return [str(each["event_type"]).removeprefix("service.") for each in told(folder)]


def test_every_change_of_a_service_is_told_and_no_sink_is_waited_for(tmp_path: Path) -> None:
    write_shop(tmp_path)
    write_settings(tmp_path, level="info")
    with running(tmp_path, workers=2, notify=[KEEP, FAIL, HANG]) as service:

        def expect(*wanted: str) -> None:
            wait_for(lambda: kinds(tmp_path) == list(wanted), 60, what=f"{wanted} and not {kinds(tmp_path)}")

        write_settings(tmp_path, level="debug", password="sesame")
        assert tell(service, "reload")["plan"]["how"] == "live"
        expect("reload.start", "reload.end")
        start, end = told(tmp_path)
        assert (start["change"], start["requested_by"]) == (end["change"], end["requested_by"])
        assert [each["key"] for each in end["differences"]] == ["level", "password"]
        assert (end["status"], end["service"]) == ("applied", "hitless")
        write_settings(tmp_path, level=3)
        assert tell(service, "reload")["outcome"]["status"] == "rejected"
        write_settings(tmp_path, level="debug")
        tell(service, "scale", workers=1)
        tell(service, "upgrade")
        wanted = ["reload.start", "reload.end", "reload.start", "reload.error", "scale.start", "scale.end"]
        wanted += ["upgrade.start", "upgrade.end"]
        expect(*wanted)
        assert told(tmp_path)[3]["reason"] == "configuration_invalid"
        tell(service, "reload")
        expect(*wanted, "reload.start", "reload.end")
        assert "sesame" not in (tmp_path / "told").read_text()
        wait_for(lambda: service.status()["notify"][1]["failed"] == 2, 60, what="failures that are counted")
        keeps, fails, hangs = service.status()["notify"]
        assert (keeps["sink"], keeps["delivered"], keeps["failed"]) == ("command sh", 2, 0)
        assert (fails["delivered"], fails["trouble"]) == (0, "ended with code 3: it said nothing")
        assert (hangs["delivered"], hangs["waiting"]) == (0, 2)
        service.configure(notify=[{**KEEP, "command": ["sh", "-c", "cat >> others"]}])
        assert tell(service, "reload")["outcome"]["status"] == "applied"
        tell(service, "scale", workers=2)
        hook = {
            "kind": "webhook",
            "url": "http://user:hush@127.0.0.1:1/secret-path",
            "headers": {"X": "hushed"},
        }
        service.configure(notify=[{**KEEP, "command": ["sh", "-c", "cat >> others"]}, hook])
        assert tell(service, "reload")["outcome"]["status"] == "applied"
        assert tell(service, "rollback")["outcome"]["status"] == "applied"
        assert len(service.status()["notify"]) == 2, "who is told is not rolled back"
        shown = service.command("check", "-c", "hitless.toml", "--explain").out
        assert "webhook" in shown
        shown += json.dumps([service.status(), tell(service, "history"), service.command("history").out])
        written = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir()).decode(
            errors="replace"
        )
        for text in (shown, written, service.log):
            assert "hush" not in text
            assert "secret-path" not in text
    others = [json.loads(line)["event_type"] for line in (tmp_path / "others").read_text().splitlines()]
    assert others[:2] == ["service.scale.start", "service.scale.end"]
    assert others[-2:] == ["service.rollback.start", "service.rollback.end"]
    assert kinds(tmp_path)[-2:] == ["reload.start", "reload.end"], "the old sinks are told of their end"
    hung = [int(line) for line in (tmp_path / "hangs").read_text().splitlines()]
    assert len(hung) >= 2, "one before the upgrade, and one after"
    wait_for(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in hung), 60, what="no command that is left"
    )


def test_sinks_that_cannot_be_are_refused_with_their_line(tmp_path: Path) -> None:
    write_app(tmp_path)
    with running(tmp_path) as service:
        service.configure(notify=[{"kind": "webhook", "url": "ftp://user:hush@example"}])
        told = service.command("reload")
        assert told.code == 2
        assert "notify[0].url: expected a URL such as" in told.err
        service.configure(notify=[{"kind": "command", "command": ["true"], "attemps": 2, "topics": "x"}])
        told = service.command("reload")
        assert "notify[0].attemps: unknown key; did you mean attempts?" in told.err
        assert "notify[0].topics: unknown key\n" in told.err, "a key of another kind is not meant"
        service.configure(notify=[{"kind": "webhook"}])
        assert "notify[0].url: is required" in service.command("reload").err
        assert "hush" not in told.err
