"""Each gate can be seen to hold: what stands behind it was not touched, and a resume goes on when the cause is gone."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers.databases import mariadb
from tests.servers.mariadb import MariaDB

from hitless.rollout.errors import Busy, Late, Rejected, RolloutError, Unreachable
from rollout.executors.processes import having
from rollout.ground import Ground

__all__ = ["mariadb"]


@pytest.fixture
def stored(ground: Ground) -> Ground:
    """A service with a database, release 1, with rows of release 1."""
    more = ground.with_database(f"sqlite:///{ground.folder}/images.db")
    ground.sql("INSERT INTO images (name, is_public) VALUES ('a', 1), ('b', 0), ('c', 1)")
    ground.write("2", more=more)
    return ground


def has_contracted(ground: Ground) -> bool:
    return "is_public" not in ground.columns()


def test_the_database_goes_along_in_the_documented_order(stored: Ground) -> None:
    row = stored.run()
    assert row.status == "done"
    assert has_contracted(stored)
    assert stored.sql("SELECT count(*) FROM images WHERE visibility IS NULL") == [(0,)]
    began = [step for step, state in steps_in_order(stored) if state == "running"]
    assert began[:8] == [
        "check",
        "backup",
        "n1.drain",
        "n1.stop",
        "n1.upgrade",
        "expand",
        "migrate",
        "n1.start",
    ]
    assert began[-2:] == ["verify", "contract"]
    assert began.index("contract") > began.index("n3.soak")


def steps_in_order(ground: Ground) -> Iterator[tuple[str, str]]:
    found = asyncio.run(ground.rollouts().status())
    assert found is not None
    for event in found[1].events(found[0].id):
        name, fields = str(event["name"]), event["fields"]
        if name.startswith("step.") and isinstance(fields, dict):
            yield str(fields["step"]), name.removeprefix("step.")


def test_an_old_node_that_returns_before_contract_keeps_it_from_beginning(stored: Ground) -> None:
    returns = f"sh {stored.folder}/returns.sh"
    (stored.folder / "returns.sh").write_text(
        f"cd {stored.folder} && for action in stop 'upgrade 1' start; do\n"
        f"  sh {Path(__file__).parent}/nodectl.sh {stored.node('n2')} {stored.nodes['n2']} {stored.port} $action\n"
        f"  while [ $action = stop ] && ! sh {Path(__file__).parent}/nodectl.sh {stored.node('n2')} x 1 gone; do sleep 0.1; done\n"
        "done\n"
    )
    stored.write("2", more=f"database: {{config: hitless-db.toml}}\nhooks: {{before_contract: {returns}}}")
    with pytest.raises(Rejected, match="n2 runs release 1, has traffic, not 2"):
        stored.run()
    assert not has_contracted(stored)
    stored.write("2", more="database: {config: hitless-db.toml}")
    assert stored.resume().status == "done"
    assert has_contracted(stored)
    assert stored.releases() == dict.fromkeys(stored.nodes, "2")


def test_rows_that_wait_keep_contract_from_beginning(stored: Ground) -> None:
    """Rows come in by a way that no trigger sees, after the last migration and before contract."""
    script = (
        "import sqlite3; db = sqlite3.connect('images.db');"
        "found = db.execute(\"SELECT name FROM sqlite_master WHERE type = 'trigger'\").fetchall();"
        "[db.execute(f'DROP TRIGGER {name}') for (name,) in found];"
        "db.execute(\"INSERT INTO images (name, is_public) VALUES ('late', 1)\"); db.commit()"
    )
    (stored.folder / "late.py").write_text(script.replace("'images.db'", f"'{stored.folder}/images.db'"))
    hook = f"hooks: {{before_contract: {sys.executable} {stored.folder}/late.py}}"
    stored.write("2", more=f"database: {{config: hitless-db.toml}}\n{hook}")
    with pytest.raises(Rejected, match=r"pending: .*1 rows wait"):
        stored.run()
    assert not has_contracted(stored)
    assert stored.resume().status == "done", "the rest is moved first, then contract runs"
    assert stored.sql("SELECT visibility FROM images WHERE name = 'late'") == [("public",)]


def test_a_node_that_ignores_term_is_not_upgraded_and_has_no_traffic(ground: Ground) -> None:
    ground.write("2", more="deadlines: {stop: 500ms}")
    (ground.node("n1") / "ignores-term").touch()
    ground.control("n1", "kill")
    ground.control("n1", "start")
    with pytest.raises(Late, match=r"n1 is not gone after 0.5 s: pid \d+ lives") as failed:
        ground.run()
    assert failed.value.exit_code == 4
    assert ground.releases() == dict.fromkeys(ground.nodes, "1")
    assert ground.traffic()["n1"] == "maint"
    assert "somebody to resume" in ground.status().waits_for[0]
    (ground.node("n1") / "ignores-term").unlink()
    ground.control("n1", "kill")
    assert ground.resume().status == "done"


def test_a_node_that_ignores_term_is_killed_only_where_that_is_allowed(ground: Ground) -> None:
    kill = f"  kill: sh {Path(__file__).parent}/nodectl.sh {{folder}} {{address}} {{port}} kill"
    ground.write("2", more="deadlines: {stop: 500ms}", process=kill)
    (ground.node("n1") / "ignores-term").touch()
    ground.control("n1", "kill")
    ground.control("n1", "start")
    (ground.node("n1") / "ignores-term").unlink()
    assert ground.run().status == "done"
    assert "killed: it had not ended after 0.5 s" in ground.status().steps["n1.stop"].note
    assert ground.status().steps["n2.stop"].note == "no process is left, and nothing answers"


def test_a_node_whose_health_fails_gets_no_traffic_and_no_other_is_touched(ground: Ground) -> None:
    ground.write("2", more="deadlines: {health: 500ms}")
    (ground.node("n1") / "ill-2").touch()
    with pytest.raises(Late, match=r"n1 was not healthy within 0.5 s: .* answered 503"):
        ground.run()
    assert ground.traffic() == {"n1": "maint", "n2": "ready", "n3": "ready"}
    assert ground.releases() == {"n1": "2", "n2": "1", "n3": "1"}
    (ground.node("n1") / "ill-2").unlink()
    assert ground.resume().status == "done"
    assert ground.actions("n1").count("start 2") == 2, (
        "whoever resumes has changed something: it is started anew"
    )


def test_a_failing_release_is_rolled_back_where_the_policy_says_so(ground: Ground) -> None:
    ground.write("2", more="deadlines: {health: 500ms}\non_failure: roll_back")
    (ground.node("n2") / "ill-2").touch()
    with pytest.raises(Late, match="n2 was not healthy"):
        ground.run()
    assert ground.releases() == dict.fromkeys(ground.nodes, "1")
    assert set(ground.traffic().values()) == {"ready"}
    last, first = asyncio.run(ground.rollouts().history(2))
    assert (last.direction, last.status, first.status) == ("rollback", "done", "rolled_back")


def test_a_second_runner_is_refused_and_told_who_is_at_work(ground: Ground) -> None:
    ground.write("2")
    (ground.balancer / "sessions-n1").write_text("1\n")
    first = ground.begin("run")
    try:
        wait_until(lambda: "n1.drain" in str(running(ground)))
        with pytest.raises(Busy, match=f"pid {first.pid} has been at run"):
            ground.run()
        status = ground.status()
        assert status.holder is not None
        assert any(each.startswith("n1.drain for") for each in status.waits_for)
    finally:
        (ground.balancer / "sessions-n1").write_text("0\n")
        out, err = first.communicate(timeout=60)
    assert first.returncode == 0, out + err


def running(ground: Ground) -> list[str]:
    found = asyncio.run(ground.rollouts().status())
    if found is None:
        return []
    return [step for step, row in found[1].steps(found[0].id).items() if row.state == "running"]


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def test_a_balancer_that_cannot_be_reached_leaves_every_node_alone(ground: Ground) -> None:
    haproxy = f"  other: {{kind: haproxy, instances: {ground.folder}/no-such.sock}}"
    ground.write("2", balancers=haproxy)
    with pytest.raises(Unreachable, match="the balancer other"):
        ground.run()
    assert ground.releases() == dict.fromkeys(ground.nodes, "1")
    assert all(ground.actions(name) == ["start 1"] for name in ground.nodes)


def test_a_balancer_lost_on_the_way_pauses_the_rollout(ground: Ground) -> None:
    """It goes away while the first node is upgraded: the node waits without traffic, the others serve on."""
    ground.write("2", process="", more="")
    text = (ground.folder / "rollout.yaml").read_text()
    (ground.folder / "up.sh").write_text(
        f"touch {ground.balancer}/off; sh {Path(__file__).parent}/nodectl.sh {ground.node('n1')} x 1 upgrade 2\n"
    )
    lines = [
        f"  upgrade: sh {ground.folder}/up.sh" if "  upgrade:" in line else line for line in text.splitlines()
    ]
    (ground.folder / "rollout.yaml").write_text("\n".join(lines))
    with pytest.raises(RolloutError, match=r"the balancer front: .*connection refused"):
        ground.run()
    assert ground.releases() == {"n1": "2", "n2": "1", "n3": "1"}
    (ground.balancer / "off").unlink()
    (ground.folder / "rollout.yaml").write_text(text)
    assert ground.resume().status == "done"


@pytest.mark.root
def test_a_disk_that_is_full_during_the_backup_stops_everything_before_a_node_is_touched(
    stored: Ground,
) -> None:
    backups = stored.folder / "backups"
    backups.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(backups)], check=True)
    try:
        with pytest.raises(RolloutError, match=r"backup .* cannot be written"):
            stored.run()
        assert list(backups.iterdir()) == [], "a half backup is none"
    finally:
        subprocess.run(["umount", str(backups)], check=True)
    assert all(stored.actions(name) == ["start 1"] for name in stored.nodes)
    assert stored.resume().status == "done"


def test_an_expand_that_fails_half_way_on_mariadb_is_resumed_where_it_stopped(
    ground: Ground, mariadb: MariaDB
) -> None:
    name = f"rollout_{ground.port}"
    mariadb.sql(f"CREATE DATABASE {name}")
    try:
        more = ground.with_database(mariadb.url(name)) + "\njournal: database"
        ground.sql(
            "INSERT INTO images (name, is_public) VALUES ('a', 1), ('b', 0)",
            "CREATE TRIGGER sync_images_visibility_upd BEFORE UPDATE ON images FOR EACH ROW SET NEW.name = NEW.name",
        )
        ground.write("2", more=more)
        with pytest.raises(RolloutError, match="already exists"):
            ground.run()
        assert ground.releases() == {"n1": None, "n2": "1", "n3": "1"}, (
            "the first node waits, the others serve"
        )
        assert ground.sql("SELECT count(*) FROM images") == [(2,)]
        ground.sql("DROP TRIGGER sync_images_visibility_upd")
        assert ground.resume().status == "done"
        assert not (ground.folder / "state").exists(), "the journal is in the database"
        assert has_contracted(ground)
        assert ground.sql("SELECT visibility FROM images ORDER BY id") == [("public",), ("private",)]
    finally:
        mariadb.sql(f"DROP DATABASE {name}")


def test_a_rollout_does_not_begin_below_min_up(ground: Ground) -> None:
    ground.write("2", more="deadlines: {ready: 300ms}")
    (ground.balancer / "down-n3").touch()
    with pytest.raises(Rejected, match="n1 was not drained: 1 other nodes are up, and min_up is 2"):
        ground.run()
    assert all(ground.actions(name) == ["start 1"] for name in ground.nodes)


def test_a_node_that_only_the_balancer_knows_stops_the_rollout(ground: Ground) -> None:
    ground.write("2", n3="unlisted")
    with pytest.raises(Rejected, match="the balancer front has the server n3, which is no node"):
        ground.run()
    assert all(ground.actions(name) == ["start 1"] for name in ground.nodes)


def test_a_release_whose_migrations_are_not_there_is_not_skipped(stored: Ground) -> None:
    for path in (stored.folder / "migrations").rglob("r2_*"):
        path.unlink()
    for path in (stored.folder / "migrations").rglob("r3_*"):
        path.write_text(path.read_text().replace("'r2_", "'r1_"))
    stored.write("3", more="database: {config: hitless-db.toml}")
    with pytest.raises(Rejected, match="the migrations of release 2 are not in the folder, which has 1, 3"):
        stored.run()


def test_a_release_that_is_skipped_has_its_migrations_run(stored: Ground) -> None:
    stored.write("3", more="database: {config: hitless-db.toml}")
    assert stored.run().status == "done"
    assert stored.sql("SELECT count(*) FROM images WHERE visibility IS NULL") == [(0,)]
    assert not stored.phases().status("3").skipped


def test_there_is_no_way_back_once_contract_has_begun(stored: Ground) -> None:
    assert stored.run().status == "done"
    with pytest.raises(
        Rejected, match=r"release 1 cannot run on the database any more: contract of release 2 has begun"
    ):
        stored.roll_back()
    assert stored.releases() == dict.fromkeys(stored.nodes, "2")


def test_before_contract_every_node_can_go_back(stored: Ground) -> None:
    stored.write("2", more="database: {config: hitless-db.toml, contract: pause}")
    with pytest.raises(RolloutError, match="contract waits for: hitless rollout resume"):
        stored.run()
    assert stored.releases() == dict.fromkeys(stored.nodes, "2")
    assert stored.roll_back().status == "done"
    assert stored.releases() == dict.fromkeys(stored.nodes, "1")
    assert not has_contracted(stored)


def test_a_hook_is_told_a_message_with_braces_as_it_is(ground: Ground) -> None:
    (ground.node("n1") / "upgrade-fails").touch()
    heard = ground.folder / "heard"
    (ground.folder / "hook.sh").write_text(f'printf %s "$2" >"{heard}"')
    ground.write("2", more=f"hooks: {{on_failure: 'sh {ground.folder}/hook.sh {{{{message}}}} {{message}}'}}")
    nodectl = ground.folder / "rollout.yaml"
    nodectl.write_text(nodectl.read_text().replace(" upgrade {release}", " upgrade {{release}}{release}"))
    with pytest.raises(RolloutError) as failed:
        ground.run()
    assert "upgrade {release}2 exited with 7" in failed.value.message
    assert heard.read_text() == failed.value.message


def test_a_hook_that_hangs_is_ended_with_all_that_it_has_forked_and_named(ground: Ground) -> None:
    mark = f"61.{secrets.randbelow(10**8):08d}"
    hook = f"sh -c 'sleep {mark} & sleep {mark}'"
    ground.write("2", more=f'deadlines: {{hook: 500ms}}\nhooks: {{before_node: "{hook}"}}')
    with pytest.raises(Late, match=r"the hook before_node: sh had not ended after 0\.5 s"):
        ground.run()
    assert having(mark) == []
    assert ground.releases() == dict.fromkeys(ground.nodes, "1")


def test_nodes_that_are_not_well_are_not_said_to_stay_up(ground: Ground) -> None:
    for name in ground.nodes:
        (ground.node(name) / "ill").touch()
    ground.write("2")
    (gate,) = (each for each in asyncio.run(ground.rollouts().plan()).gates if each.name == "min_up")
    assert gate.message.startswith("only 0 of 3 nodes are up (n1: http://")


def test_a_start_action_that_does_not_return_is_told_what_becomes_of_its_service(ground: Ground) -> None:
    mark = f"62.{secrets.randbelow(10**8):08d}"
    path = ground.write("2", more="deadlines: {start: 500ms}")
    lines = path.read_text().splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("  start:"))
    lines[start] = f"  start: sh -c 'sleep {mark} & wait'"
    path.write_text("\n".join(lines))
    with pytest.raises(
        Late, match=r"had not ended after 0\.5 s; it was ended, and with it .* with setsid and return at once"
    ):
        ground.run()
    assert having(mark) == []
