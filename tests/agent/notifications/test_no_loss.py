"""No message is lost by kill -9 and changes of real agents on a real RabbitMQ, and each resource's come in order."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.notifications import ack_first
from tests.agent.notifications.crowd import SETTLE_S, Crowd, Sender
from tests.agent.notifications.ground import Place
from tests.agent.notifications.ledger import Finding, count_in, found_in
from tests.servers.rabbitmq import RabbitMQ

pytestmark = pytest.mark.timeout(900)

RESOURCES = 97


@pytest.fixture
def crowds() -> Iterator[list[Crowd]]:
    made: list[Crowd] = []
    yield made
    for each in made:
        each.end()


def all_came(crowd: Crowd, sender: Sender) -> None:
    """Wait until everything that was sent has been published, or nothing more comes."""
    sender.join(SETTLE_S)
    assert sender.failure is None
    came, deadline = -1, time.monotonic() + SETTLE_S
    while (now := count_in(crowd.output)) < sender.count and time.monotonic() < deadline:
        if now > came:
            came, deadline = now, time.monotonic() + SETTLE_S / 3
        time.sleep(0.5)


def disturbed(crowd: Crowd, sender: Sender, *, every: int, seed: int) -> dict[str, int]:
    """While messages are sent, after so many of them each time, kill an agent or change one."""
    chance, done = random.Random(seed), {"kills": 0, "reloads": 0}
    dead: int | None = None
    while sender.is_alive():
        wanted = sender.sent + every
        while sender.is_alive() and sender.sent < wanted:
            time.sleep(0.02)
        if dead is not None:
            crowd.start(dead)
            dead = None
        number = chance.randrange(len(crowd.processes))
        if chance.random() < 0.4:
            crowd.kill(number)
            dead = number
            done["kills"] += 1
        else:
            crowd.prefetch = chance.choice((50, 200, 400))
            crowd.shards = chance.choice((4, 6, 8))
            crowd.reload(number)
            done["reloads"] += 1
    if dead is not None:
        crowd.start(dead)
    return done


def run(crowd: Crowd, sender: Sender, *, every: int, seed: int) -> tuple[Finding, dict[str, int]]:
    sender.start()
    done = disturbed(crowd, sender, every=every, seed=seed)
    all_came(crowd, sender)
    codes = crowd.stop()
    assert codes == [0] * len(codes), crowd.log()[-3000:]
    return found_in(crowd.output, range(sender.count)), done


@pytest.mark.parametrize(
    ("count", "rate", "every"),
    [
        pytest.param(4_000, 500.0, 450, id="4,000"),
        pytest.param(100_000, 1500.0, 3_000, id="100,000", marks=pytest.mark.soak),
    ],
)
def test_nothing_is_lost_and_order_is_kept_through_reloads_and_kills(
    rabbitmq: RabbitMQ, tmp_path: Path, crowds: list[Crowd], count: int, rate: float, every: int
) -> None:
    place = Place.on(rabbitmq.url(""))
    crowds.append(crowd := Crowd(tmp_path, place, agents=3, shards=4))
    sender = Sender(place, count, resources=RESOURCES, rate=rate)
    finding, done = run(crowd, sender, every=every, seed=1)
    print(f"{count} messages, {done}: {finding}")
    assert not finding.lost, f"{finding}\n{crowd.log()[-3000:]}"
    assert not finding.disordered, finding
    assert done["kills"] >= 2
    assert done["reloads"] >= 2
    # What comes twice is what was in hand at a kill or at a connection's end: nothing else.
    assert finding.doubled <= (done["kills"] + done["reloads"]) * 3 * 500, finding
    assert place.count(place.queue) == 0


def test_a_listener_that_acknowledged_first_would_be_found_out(
    rabbitmq: RabbitMQ, tmp_path: Path, crowds: list[Crowd]
) -> None:
    place = Place.on(rabbitmq.url(""))
    launcher = (str(Path(ack_first.__file__)),)
    crowds.append(crowd := Crowd(tmp_path, place, agents=1, shards=0, launcher=launcher))
    sender = Sender(place, 6_000, resources=RESOURCES, rate=3000.0)
    sender.start()
    for kills in range(10):
        before = count_in(crowd.output)
        crowd.waits_for(lambda: count_in(crowd.output) > before)  # noqa: B023
        crowd.kill(0)
        crowd.start(0)
        # What it had acknowledged and not published is missing below the highest number that came.
        finding = found_in(crowd.output, range(count_in(crowd.output)))
        if finding.lost:
            break
        assert kills < 9, "it lost nothing in ten kills"
    sender.join()
    assert finding.lost
