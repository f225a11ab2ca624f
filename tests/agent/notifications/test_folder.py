"""A folder in the place of a broker: a message stays on the disk until it is acknowledged, whoever dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from kombu import Connection
from tests.agent.notifications.crowd import Crowd
from tests.agent.notifications.ground import (
    DEADLINE_S,
    Listening,
    Place,
    envelope,
    listens,
    message,
    status,
    until,
)
from tests.agent.notifications.ledger import count_in, found_in

TAKER = """
import sys, time
from kombu import Connection
with Connection(transport="hitless.agent.notifications.folder:Transport", hostname=sys.argv[1]) as connection:
    channel = connection.channel()
    for _ in range(3):
        print(channel.basic_get(sys.argv[2]).body, flush=True)
    print("taken", flush=True)
    time.sleep(600)
"""


def place_in(folder: Path) -> Place:
    return Place.on(f"filesystem://{folder}/spool")


def taken_by_one_that_is_killed(place: Place, folder: Path) -> None:
    """The first three; the fourth is taken by another one meanwhile."""
    command = [sys.executable, "-c", TAKER, str(folder), place.queue]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout is not None
        while "taken" not in taker.stdout.readline():
            assert taker.poll() is None
        assert place.take(place.queue) is not None  # of nobody else's
        taker.send_signal(signal.SIGKILL)
        taker.wait(DEADLINE_S)


async def test_what_a_killed_process_had_taken_comes_again_in_its_place(tmp_path: Path) -> None:
    place, ground = place_in(tmp_path), Listening()
    place.send_numbers(*range(10))
    taken_by_one_that_is_killed(place, tmp_path / "spool")
    agent = await ground.started(listens(place.spec()))
    await ground.kept_now().has(9)
    await until(lambda: status(agent)["acked"] == 9, "they were not acknowledged")
    await agent.stop()
    assert ground.sizes == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    held = tmp_path / "spool" / ".held"
    assert not list(held.iterdir())
    assert not list((tmp_path / "spool").glob("*.msg"))


async def test_kombus_own_transport_writes_into_the_same_folder(tmp_path: Path) -> None:
    place, ground = place_in(tmp_path), Listening()
    agent = await ground.started(listens(place.spec()))
    spool = str(tmp_path / "spool")
    options = {"data_folder_in": spool, "data_folder_out": spool, "control_folder": f"{spool}/control"}
    with Connection("filesystem://", transport_options=options) as connection:
        producer = connection.Producer()
        for number in range(3):
            producer.publish(
                envelope(message(number)), exchange=place.name, routing_key=place.queue, serializer="json"
            )
    await ground.kept_now().has(3)
    assert sorted(ground.sizes) == [0, 1, 2]
    await agent.stop()


async def test_files_that_are_no_messages_are_put_aside(tmp_path: Path) -> None:
    place, ground = place_in(tmp_path), Listening()
    place.send_numbers(1)
    good = json.loads(next((tmp_path / "spool").glob("*.msg")).read_text())
    odd = {**good, "properties": {**good["properties"], "body_encoding": "rot13"}}
    bodies = (
        "{",
        "[]",
        "{}",
        json.dumps(odd),
        json.dumps({**good, "body": 5}),
        "\ud800".encode("utf-8", "replace").decode(),
    )
    for number, text in enumerate(bodies):
        (tmp_path / "spool" / f"0_{number}.{place.queue}.msg").write_text(text)
    agent = await ground.started(listens(place.spec()))
    await ground.kept_now().has(1)
    await until(lambda: status(agent)["acked"] == 1 + len(bodies), "they were not acknowledged")
    assert status(agent)["dead_lettered"] == len(bodies)
    assert status(agent)["reconnects"] == 0
    await agent.stop()


def test_a_real_agent_that_is_killed_loses_nothing_of_a_folder(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    place.send_numbers(*range(600), resources=7)
    crowd = Crowd(tmp_path, place, agents=1, shards=0)
    try:
        crowd.waits_for(lambda: count_in(crowd.output) > 0)
        crowd.kill(0)
        crowd.start(0)
        crowd.waits_for(lambda: count_in(crowd.output) == 600)
        assert crowd.stop() == [0]
    finally:
        crowd.end()
    finding = found_in(crowd.output, range(600))
    assert not finding.lost
    assert not finding.disordered
