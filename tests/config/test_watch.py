"""Real files, changed in all the ways in which files are changed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from tests.config.models import Settings

from hitless.config import Changed, Flags, TomlFile, Watcher, load

NEVER_S = 3600.0
"""An interval that no test waits for: what is seen is seen by an event."""


class Watching:
    """A watcher whose changes a test takes one by one."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self._changes: asyncio.Queue[Changed] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for change in self.watcher:
            self._changes.put_nowait(change)

    async def next(self) -> Changed:
        async with asyncio.timeout(10):
            return await self._changes.get()

    async def nothing(self, seconds: float = 0.5) -> None:
        """To see that nothing comes, there is nothing to wait for but time."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changes.get()

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


Watch = Callable[..., Watching]


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    made: list[Watching] = []

    def watch(
        *paths: Path, interval_s: float = NEVER_S, settle_s: float = 0.05, applied: str | None = None
    ) -> Watching:
        made.append(Watching(Watcher(paths, interval_s=interval_s, settle_s=settle_s, applied=applied)))
        return made[-1]

    yield watch
    for each in made:
        await each.close()


def replace(path: Path, text: str) -> None:
    """As editors and configuration management write: a new file, renamed over the old one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


async def armed() -> None:
    """Let the watcher's first look happen."""
    await asyncio.sleep(0.2)


async def test_a_file_written_in_place_is_seen(tmp_path: Path, watch: Watch) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = 1")
    watching = watch(path)
    await armed()
    path.write_text("a = 2")
    assert (await watching.next()).hash == watching.watcher.look()


async def test_every_rename_over_the_file_is_seen_not_only_the_first(tmp_path: Path, watch: Watch) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = 0")
    watching = watch(path)
    await armed()
    for number in range(1, 5):
        replace(path, f"a = {number}")
        change = await watching.next()
        assert change.hash == watching.watcher.look()
        watching.watcher.applied(change.hash)


async def test_every_swap_of_a_config_map_is_seen_not_only_the_first(tmp_path: Path, watch: Watch) -> None:
    """The kubelet writes a new directory and swaps the link ..data to it; the file itself is a link through it."""

    def swap(number: int) -> None:
        directory = tmp_path / f"..2024_{number}"
        directory.mkdir()
        (directory / "a.toml").write_text(f"a = {number}")
        (tmp_path / "..data_tmp").symlink_to(directory.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    swap(0)
    path = tmp_path / "a.toml"
    path.symlink_to("..data/a.toml")
    watching = watch(path)
    await armed()
    for number in range(1, 4):
        swap(number)
        change = await watching.next()
        assert path.read_text() == f"a = {number}"
        watching.watcher.applied(change.hash)


async def test_a_file_that_is_written_in_two_halves_is_taken_whole(tmp_path: Path, watch: Watch) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = 1\nb = 1\n")
    watching = watch(path, settle_s=0.6)
    await armed()
    with path.open("w") as file:
        file.write("a = 2\n")
        file.flush()
        await watching.nothing(0.35)
        file.write("b = 2\n")
    change = await watching.next()
    assert path.read_text() == "a = 2\nb = 2\n"
    assert change.hash == watching.watcher.look()
    await watching.nothing()


async def test_a_file_that_is_deleted_is_waited_for(tmp_path: Path, watch: Watch) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = 1")
    watching = watch(path)
    await armed()
    path.unlink()
    await watching.nothing()
    path.write_text("a = 1")
    await watching.nothing()
    path.unlink()
    path.write_text("a = 2")
    assert (await watching.next()).hash == watching.watcher.look()


async def test_a_touch_or_the_same_text_again_is_no_change(tmp_path: Path, watch: Watch) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = 1")
    watching = watch(path)
    await armed()
    path.touch()
    replace(path, "a = 1")
    await watching.nothing()


async def test_an_older_file_put_back_is_seen_although_its_time_is_older(
    tmp_path: Path, watch: Watch
) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = 2")
    old = tmp_path / "old.toml"
    old.write_text("a = 1")
    os.utime(old, (1, 1))
    watching = watch(path)
    await armed()
    old.rename(path)
    assert (await watching.next()).hash == watching.watcher.look()


async def test_a_failed_file_is_tried_again_when_it_changes_and_forgiven_when_it_goes_back(
    tmp_path: Path, watch: Watch
) -> None:
    path = tmp_path / "a.toml"
    path.write_text("good")
    watching = watch(path)
    await armed()
    replace(path, "bad")
    first = await watching.next()
    watching.watcher.failed(first.hash)
    assert watching.watcher.failing == first.hash
    path.touch()
    await watching.nothing()
    replace(path, "worse")
    second = await watching.next()
    watching.watcher.failed(second.hash)
    replace(path, "good")
    await watching.nothing()
    assert watching.watcher.failing is None


async def test_what_changed_between_load_and_watch_is_seen(tmp_path: Path, watch: Watch) -> None:
    path = tmp_path / "a.toml"
    path.write_text('app = "x"')
    path.chmod(0o600)
    loaded = load(Settings, TomlFile(path), Flags({}))
    path.write_text('app = "y"')
    watching = watch(path, applied=loaded.content_hash)
    change = await watching.next()
    assert change.hash == load(Settings, TomlFile(path)).content_hash


async def test_several_files_are_one_content(tmp_path: Path, watch: Watch) -> None:
    one, two = tmp_path / "1" / "a.toml", tmp_path / "2" / "b.toml"
    for path in (one, two):
        path.parent.mkdir()
        path.write_text("a = 1")
    watching = watch(one, two)
    await armed()
    replace(two, "a = 2")
    watching.watcher.applied((await watching.next()).hash)
    replace(one, "a = 2")
    watching.watcher.applied((await watching.next()).hash)
    await watching.nothing()


async def test_a_directory_that_is_replaced_is_watched_anew(tmp_path: Path, watch: Watch) -> None:
    directory = tmp_path / "etc"
    directory.mkdir()
    path = directory / "a.toml"
    path.write_text("a = 1")
    watching = watch(path, interval_s=0.2)
    await armed()
    directory.rename(tmp_path / "old")
    directory.mkdir()
    path.write_text("a = 2")
    watching.watcher.applied((await watching.next()).hash)
    path.write_text("a = 3")
    await watching.next()


async def test_without_file_system_events_the_interval_finds_the_change(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_more_watches(*args: object, **options: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchfiles.awatch", no_more_watches)
    path = tmp_path / "a.toml"
    path.write_text("a = 1")
    watching = watch(path, interval_s=0.1)
    await armed()
    path.write_text("a = 2")
    await watching.next()
    await asyncio.sleep(0.5)
    assert [record.message for record in caplog.records if "inotify" in record.message] == [
        "file system events are not to be had (OSError: [Errno 28] inotify watch limit reached); the files are"
        " looked at by interval"
    ]


async def test_watching_needs_no_watchfiles(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    path = tmp_path / "a.toml"
    path.write_text("a = 1")
    watching = watch(path, interval_s=0.1)
    await armed()
    path.write_text("a = 2")
    await watching.next()
    assert "looked at by interval" in caplog.text


async def test_a_fifo_under_the_name_hangs_nothing(tmp_path: Path, watch: Watch) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = 1")
    watching = watch(path)
    await armed()
    path.unlink()
    os.mkfifo(path)
    await watching.nothing()
    path.unlink()
    path.write_text("a = 2")
    await watching.next()


async def test_watching_ends_without_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = 1")
    process = psutil.Process()

    async def once() -> None:
        watching = Watching(Watcher([path], interval_s=NEVER_S, settle_s=0.0))
        await armed()
        await watching.close()

    await once()
    before = process.num_fds()
    for _ in range(3):
        await once()
    async with asyncio.timeout(5):  # watchfiles' own thread closes its descriptors a moment later
        while process.num_fds() > before:  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) == 1
