"""Settings from a key prefix of a real etcd: read at one revision, told with key and line, watched through its absence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict
from tests.serve.certificates import make_certificate, trusting
from tests.servers.etcd import Etcd, etcd, etcd_server

from hitless.config import Changed, ConfigError, SourceUnreachable, Version, explain, load
from hitless.config.etcd import Compacted, EtcdError, EtcdPrefix, EtcdWatcher, Gateway
from hitless.config.etcd.watch import Standing

__all__ = ["etcd", "etcd_server"]

PATIENCE_S = 60.0


class Database(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    url: str = ""
    pool: int = 1


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    level: str = "info"
    database: Database = Database()


def source(etcd: Etcd, prefix: str = "/volumes/") -> EtcdPrefix:
    return EtcdPrefix(prefix, [etcd.endpoint], timeout_s=10.0)


def test_documents_below_a_prefix_are_laid_over_each_other_in_the_order_of_their_keys(etcd: Etcd) -> None:
    etcd.put(
        volumes_10_toml="level = 'debug'\n[database]\nurl = 'one'\npool = 2\n",
        volumes_20_yaml="database:\n  url: two\n",
        **{"volumes-of-others_a_toml": "level = 'not mine'\n"},
    )
    loaded = load(Settings, source(etcd))
    assert loaded.settings == Settings(level="debug", database=Database(url="two", pool=2))
    assert [tuple(row) for row in explain(loaded)] == [
        ("level", '"debug"', "etcd:/volumes/10.toml:1"),
        ("database.url", '"two"', "etcd:/volumes/20.yaml:2"),
        ("database.pool", "2", "etcd:/volumes/10.toml:4"),
    ]


def test_the_revision_is_recorded_and_the_hash_is_that_of_the_content(etcd: Etcd) -> None:
    first = etcd.put(volumes_a_toml="level = 'debug'\n")
    before = load(Settings, source(etcd)).versions[0]
    etcd.put(volumes_a_toml="level = 'info'\n")
    etcd.put(volumes_a_toml="level = 'debug'\n")
    after = load(Settings, source(etcd)).versions[0]
    assert (before.source, before.number, after.number) == ("etcd:/volumes/", str(first), str(first + 2))
    assert before.hash == after.hash


@pytest.mark.parametrize(
    ("documents", "problem"),
    [
        ({"volumes_a_toml": "level = 3\n"}, "etcd:/volumes/a.toml:1: level: expected text, got 3"),
        (
            {"volumes_a_toml": "levl = 'x'\n"},
            "etcd:/volumes/a.toml:1: levl: unknown key; did you mean level?",
        ),
        ({"volumes_a_toml": "level = 'half"}, "etcd:/volumes/a.toml:1: is not TOML"),
        (
            {"volumes_a_json": "{}"},
            "etcd:/volumes/a.json: is no document; call it by its format: .toml, .yaml, .yml",
        ),
        ({}, "etcd:/volumes/: has no keys below it"),
    ],
)
def test_what_is_wrong_is_told_with_key_and_line(etcd: Etcd, documents: dict[str, str], problem: str) -> None:
    if documents:
        etcd.put(**documents)
    with pytest.raises(ConfigError) as caught:
        load(Settings, source(etcd))
    assert str(caught.value).startswith(problem)
    assert not isinstance(caught.value, SourceUnreachable)


def test_a_prefix_that_need_not_be_there_is_empty(etcd: Etcd) -> None:
    assert load(Settings, EtcdPrefix("/volumes/", [etcd.endpoint], required=False)).settings == Settings()


def test_an_etcd_that_is_gone_or_hangs_is_told_apart_from_a_wrong_setting(etcd: Etcd) -> None:
    etcd.put(volumes_a_toml="level = 'debug'\n")
    etcd.freeze()
    with pytest.raises(SourceUnreachable, match=r"etcd:/volumes/: 127.0.0.1:\d+ did not answer within 0.3 s"):
        load(Settings, EtcdPrefix("/volumes/", [etcd.endpoint], timeout_s=0.3))
    etcd.thaw()
    etcd.kill()
    with pytest.raises(SourceUnreachable, match=r"etcd:/volumes/: .* Connection refused"):
        load(Settings, source(etcd))


def test_the_next_endpoint_is_asked_when_one_does_not_answer(etcd: Etcd) -> None:
    etcd.put(volumes_a_toml="level = 'debug'\n")
    two = EtcdPrefix("/volumes/", ["http://127.0.0.1:1", etcd.endpoint])
    assert load(Settings, two).settings.level == "debug"


def test_what_is_no_etcd_says_so(etcd: Etcd) -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        EtcdPrefix("/volumes/", ["127.0.0.1:2379"])
    with pytest.raises(ValueError, match="the whole of etcd is nobody's settings"):
        EtcdPrefix("/", [etcd.endpoint])


async def test_a_transaction_is_told_once_and_seen_whole(etcd: Etcd) -> None:
    gateway = Gateway([etcd.endpoint], 10.0)
    async with (
        asyncio.timeout(PATIENCE_S),
        aclosing(gateway.changes("/volumes/", since=etcd.revision + 1)) as changes,
    ):
        assert await anext(changes) == 0
        revision = etcd.put(volumes_a_toml="level = 'a'\n", volumes_b_toml="level = 'b'\n")
        assert await anext(changes) == revision
    assert [pair.key for pair in gateway.read("/volumes/").pairs] == ["/volumes/a.toml", "/volumes/b.toml"]


async def test_a_watch_from_what_etcd_has_forgotten_says_so(etcd: Etcd) -> None:
    first = etcd.revision
    for number in range(5):
        revision = etcd.put(volumes_a_toml=f"level = '{number}'\n")
    etcd.compact(revision)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Compacted, match=f"has forgotten what was before revision {revision}"):
            async for _ in Gateway([etcd.endpoint], 10.0).changes("/volumes/", since=first):
                pass


class Followed:
    """What a watcher yields and tells, to be waited for."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[Changed] = asyncio.Queue()
        self.standings: asyncio.Queue[Standing] = asyncio.Queue()
        self.watcher: EtcdWatcher | None = None

    async def run(self) -> None:
        assert self.watcher is not None
        async for changed in self.watcher:
            self.changes.put_nowait(changed)


@asynccontextmanager
async def following(
    source: EtcdPrefix, *, applied: Version | None, interval_s: float = 3600.0
) -> AsyncIterator[Followed]:
    followed = Followed()
    followed.watcher = source.watcher(
        interval_s=interval_s, settle_s=0.0, applied=applied, tell=followed.standings.put_nowait
    )
    task = asyncio.create_task(followed.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield followed
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_change_is_taken_when_it_comes_and_content_that_serves_is_not(etcd: Etcd) -> None:
    etcd.put(volumes_a_toml="level = 'a'\n")
    applied = load(Settings, source(etcd)).versions[0]
    async with following(source(etcd), applied=applied) as followed:
        assert followed.watcher is not None
        revision = etcd.put(volumes_a_toml="level = 'b'\n")
        changed = await followed.changes.get()
        assert changed.version == str(revision)
        followed.watcher.failed(changed.hash)
        assert followed.watcher.failing == changed.hash
        etcd.put(volumes_a_toml="level = 'a'\n")  # back to what serves: nothing to do
        last = etcd.put(volumes_a_toml="level = 'c'\n")
        assert (await followed.changes.get()).version == str(last)
        assert followed.watcher.standing.revision == str(last)
        assert followed.changes.empty()


async def test_changes_made_and_forgotten_while_etcd_was_gone_are_found_when_it_is_back(etcd: Etcd) -> None:
    etcd.put(volumes_a_toml="level = 'a'\n")
    applied = load(Settings, source(etcd)).versions[0]
    async with following(source(etcd), applied=applied) as followed:
        last = etcd.put(volumes_a_toml="level = 'b'\n")
        await followed.changes.get()
        etcd.kill()
        lost = await followed.standings.get()
        assert (lost.state, lost.revision) == ("unreachable", str(last))
        assert "cannot be asked: " in lost.message
        etcd.start()
        found = await followed.standings.get()
        assert (found.state, found.message) == ("connected", "")
        for number in range(5):
            revision = etcd.put(volumes_a_toml=f"level = 'c{number}'\n")
            etcd.compact(revision)
        while (await followed.changes.get()).version != str(revision):
            pass


async def test_an_etcd_that_hangs_is_noticed_by_the_look_of_the_interval(etcd: Etcd) -> None:
    etcd.put(volumes_a_toml="level = 'a'\n")
    quick = EtcdPrefix("/volumes/", [etcd.endpoint], timeout_s=0.5)
    async with following(quick, applied=None, interval_s=0.2) as followed:
        etcd.freeze()
        while (await followed.standings.get()).state != "unreachable":
            pass
        etcd.thaw()
        while (await followed.standings.get()).state != "connected":
            pass
        revision = etcd.put(volumes_a_toml="level = 'b'\n")
        assert (await followed.changes.get()).version == str(revision)


async def test_an_etcd_that_wants_certificates_is_read_and_watched(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "cluster")
    secured = Etcd(tmp_path, certificate)
    secured.start()
    try:
        secured.put(volumes_a_toml="level = 'debug'\n")
        with_tls = EtcdPrefix("/volumes/", [secured.endpoint], timeout_s=10.0, tls=secured.tls)
        loaded = load(Settings, with_tls)
        assert loaded.settings.level == "debug"
        async with following(with_tls, applied=loaded.versions[0]) as followed:
            revision = secured.put(volumes_a_toml="level = 'info'\n")
            assert (await followed.changes.get()).version == str(revision)
        stranger = EtcdPrefix("/volumes/", [secured.endpoint], timeout_s=10.0, tls=trusting(certificate[0]))
        with pytest.raises(SourceUnreachable, match="cannot be asked"):
            load(Settings, stranger)
        with pytest.raises(SourceUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            load(Settings, EtcdPrefix("/volumes/", [secured.endpoint], timeout_s=10.0))
    finally:
        secured.kill()


def test_an_error_of_etcd_is_passed_on(etcd: Etcd) -> None:
    with pytest.raises(EtcdError, match="did not answer in JSON"):
        Gateway([etcd.endpoint + "/metrics"], 10.0).read("/volumes/")
