"""A signal, a changed file and a command make a service look at its sources again; commands are those of serve."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import SecretStr
from tests.live.conftest import New, Told
from tests.live.models import Settings, Thing, World

from hitless.config import ConfDirectory, TomlFile
from hitless.config.yaml import YamlFile
from hitless.control import ControlClient
from hitless.live import Runtime, Setting, Triggers


class Driver(Thing): ...


def declare(runtime: Runtime[Settings], world: World) -> None:
    @runtime.resource
    class OfDriver(Driver):
        def __init__(self, level: Annotated[str, Setting("level")]) -> None:
            super().__init__(world, level)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "service.yaml"
    path.write_text("level: info\n")
    path.chmod(0o600)
    return path


async def test_sighup_reloads_and_a_storm_of_them_loses_nothing(new: New, world: World, file: Path) -> None:
    runtime = new()
    declare(runtime, world)
    told = Told(runtime)
    await runtime.start(YamlFile(file), triggers=Triggers(sighup=True))
    for number in range(20):
        file.write_text(f"level: debug{number}\n")
        os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(10):
        while runtime.settings.level != "debug19":
            await told.wait_for("change.committed", len(told.named("change.committed")) + 1)
    assert told.named("change.started")[-1].fields["requested_by"] == "SIGHUP"
    await runtime.stop()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


async def test_a_changed_file_is_taken_when_it_is_whole_and_a_bad_one_is_not(
    new: New, world: World, file: Path
) -> None:
    runtime = new()
    declare(runtime, world)
    told = Told(runtime)
    more = file.parent / "conf.d"
    more.mkdir(mode=0o755)
    triggers = Triggers(watch_interval_s=0.05, watch_settle_s=0.05)
    await runtime.start(YamlFile(file), ConfDirectory(more), triggers=triggers)
    file.write_text("level: [half")
    await told.wait_for("change.rejected")
    assert runtime.settings.level == "info"
    file.write_text("level: debug\n")
    await told.wait_for("change.committed", 2)
    assert runtime.settings.level == "debug"
    (more / "10.toml").write_text("level = 'from conf.d'\n")
    (more / "10.toml").chmod(0o600)
    await told.wait_for("change.committed", 3)
    assert runtime.settings.level == "from conf.d"
    (more / "10.toml").unlink()
    await told.wait_for("change.committed", 4)
    assert runtime.settings.level == "debug"
    assert len(told.named("change.rejected")) == 1


@pytest.mark.soak  # test_commands has them one by one
async def test_the_commands_of_serve_work_on_a_live_service(
    new: New, world: World, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITLESS_RUN_DIR", str(tmp_path / "run"))
    runtime = new(name="volumes")
    declare(runtime, world)
    await runtime.start(YamlFile(file), triggers=Triggers(control=True, state_dir=tmp_path / "state"))

    async def hitless(*words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "hitless", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    file.write_text("level: debug\n")
    diff = await hitless("diff", "volumes")
    assert 'level: "info" → "debug"' in diff
    assert "rebuild OfDriver: level changed" in diff
    async with runtime.action("copy volume", Driver):
        assert "applied: generation 2 serves" in await hitless("reload", "volumes")
        status = await hitless("status", "volumes")
        assert "generation 1 drains (replaced)" in status
        assert "copy volume (OfDriver)" in status
        assert f"{__file__}:" in status
    await runtime.drained()
    file.write_text("levl: debug\n")
    assert ":1: levl: unknown key; did you mean level?" in await hitless("reload", "volumes", code=2)
    assert ":1: levl: unknown key" in await hitless("diff", "volumes", code=2)
    assert "applied: generation 3 serves" in await hitless("rollback", "volumes")
    rows = json.loads(await hitless("history", "volumes", "--json"))
    assert [row["status"] for row in rows] == ["applied", "rejected", "applied", "applied"]
    assert rows[2]["drained"]["cut"] == 0


async def test_check_says_whether_the_sources_would_be_taken(new: New, file: Path, tmp_path: Path) -> None:
    runtime = new()
    path = tmp_path / "s.sock"
    await runtime.start(YamlFile(file), triggers=Triggers(control=path))

    def check() -> Any:
        with ControlClient(path) as service:
            return service.call("check")

    assert set(await asyncio.to_thread(check)) == {"hash"}
    file.write_text("level: {}\n")
    assert (await asyncio.to_thread(check))["refused"]["invalid"] is True


async def test_two_changes_are_not_made_at_once(new: New, world: World) -> None:
    runtime = new()
    begun, go_on = asyncio.Event(), asyncio.Event()

    @runtime.resource
    async def slow(level: Annotated[str, Setting("level")]) -> None:
        if level != "info":
            begun.set()
            await go_on.wait()

    await runtime.start(settings=Settings())
    first = asyncio.create_task(runtime.reload(Settings(level="debug"), requested_by="the first"))
    await begun.wait()
    with pytest.raises(Exception, match=r"a reload \(asked for by the first\) is in progress"):
        await runtime.reload(Settings(level="warning"))
    go_on.set()
    assert (await first).generation == 2


async def test_a_change_that_is_cancelled_is_taken_back(new: New, world: World) -> None:
    runtime = new()
    begun = asyncio.Event()

    @runtime.resource
    async def slow(level: Annotated[str, Setting("level")]) -> None:
        if level != "info":
            begun.set()
            await asyncio.Event().wait()

    await runtime.start(settings=Settings())
    change = asyncio.create_task(runtime.reload(Settings(level="debug")))
    await begun.wait()
    change.cancel()
    await asyncio.wait({change})
    assert (change.cancelled(), runtime.generation, runtime.settings.level) == (True, 1, "info")
    assert (await runtime.reload(Settings(port=1))).generation == 2


def test_toml_and_yaml_of_the_same_settings_are_the_same_settings(tmp_path: Path) -> None:
    from hitless.config import load

    toml, yaml = tmp_path / "a.toml", tmp_path / "a.yaml"
    toml.write_text('level = "on"\n[backends.a]\nsize = 3\n')
    yaml.write_text("level: on\nbackends:\n  a: {size: 3}\n")
    for path in (toml, yaml):
        path.chmod(0o600)
    assert load(Settings, TomlFile(toml)).hash == load(Settings, YamlFile(yaml)).hash


async def test_the_watch_takes_a_secret_that_was_renewed_in_its_file(new: New, file: Path) -> None:
    runtime = new()
    told = Told(runtime)
    secret = file.parent / "password"

    @runtime.derived
    def password(password: Annotated[SecretStr, Setting("database.password")]) -> str:
        return password.get_secret_value()

    def renew(text: str) -> None:
        draft = file.parent / "password.new"
        draft.write_text(text)
        draft.chmod(0o600)
        draft.rename(secret)

    renew("one")
    file.write_text(f"database: {{password: 'file:{secret}'}}\n")
    triggers = Triggers(watch_interval_s=0.05, watch_settle_s=0.0)
    await runtime.start(YamlFile(file), triggers=triggers)
    for number, text in enumerate(("two", "three")):
        renew(text)
        await told.wait_for("change.committed", number + 2)
        assert password() == text
    assert not [event for event in told.events if "two" in str(event) or "three" in str(event)]
