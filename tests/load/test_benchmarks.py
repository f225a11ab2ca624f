"""The benchmarks' own parts: a figure that is read wrong is worse than none."""

from __future__ import annotations

import os
import string
import subprocess
import sys
import time

import pytest
from benchmarks import broken, processes, reload, throughput
from benchmarks.follow import Turn, follow
from benchmarks.loader import loading
from benchmarks.options import Options
from benchmarks.peers import PEERS
from benchmarks.results import Results, table
from benchmarks.server import NotServing, Setup, Site, running

WRK = """Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.12ms    1.10ms  61.31ms   93.36%
    Req/Sec    20.62k     1.05k   22.29k    75.00%
  Latency Distribution
     50%    2.91ms
     75%  980.00us
     90%    4.00ms
     99%    1.21s
  41121 requests in 2.00s, 5.25MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:  20537.67
Transfer/sec:      2.62MB
"""


def test_what_wrk_says_is_read():
    assert throughput.parsed(WRK) == throughput.Round(20537.67, 2.91, 1210.0, 15, 41121)


def test_results_are_written_as_json_and_markdown(tmp_path):
    results = Results("suite", "About.", {"T": [{"server": "a", "n": 1}, {"server": "b"}]}, ["c (missing)"])
    files = results.write(tmp_path, machine={"cores": "2"}, command="python -m benchmarks")
    assert [file.name for file in files] == ["suite.json", "suite.md"]
    text = files[1].read_text()
    assert "| server | n |\n|---|---|\n| a | 1 |\n| b |  |" in text
    assert "Skipped: c (missing)." in text
    assert table([]) == "(nothing was measured)"


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_command_and_file_of_a_peer_can_be_filled_in(peer, tmp_path):
    site = Site(peer, Setup(sys.executable), 8000, tmp_path)
    fields = site.fields("2 broken")
    for text in (*peer.command, *peer.files.values()):
        assert {name for _, name, _, _ in string.Formatter().parse(text) if name} <= set(fields)
    site.release("2 broken")
    assert (tmp_path / "release").read_text() == "2 broken"


def test_a_peer_that_is_not_there_is_skipped_visibly(capsys):
    skipped: list[str] = []
    options = Options("/bin/false", only=("uvicorn",))
    assert list(options.peers("reload", skipped)) == []
    assert skipped == ["uvicorn (/bin/false has no uvicorn)"]
    assert "skipped" in capsys.readouterr().err


def test_a_tree_is_ended_with_all_its_descendants_even_those_that_ignore_sigterm():
    script = "trap '' TERM; sleep 300 & sleep 300 & wait"
    root = subprocess.Popen(["/bin/sh", "-c", script])
    try:
        deadline = time.monotonic() + 10
        while len(tree := processes.tree(root.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(tree) == 3
        assert processes.memory(root.pid).processes == 3
        processes.end(root.pid, grace_s=0.2)
    finally:
        root.kill()
        root.wait()
    assert not any(pid.alive for pid in tree)


def test_a_process_of_the_same_number_is_not_taken_for_the_old_one():
    (me,) = [pid for pid in processes.tree(os.getpid()) if pid.number == os.getpid()]
    assert me.alive
    assert not processes.Pid(me.number, me.started - 1).alive


def test_turns_that_never_came_are_said():
    assert reload._span([1.0, None, 2.0]) == "1.00 – 2.00, 1 × never"
    assert reload._span([None]) == "never"
    assert broken.NAME in PEERS[0].suites


async def test_a_reload_of_hitless_is_followed_under_load():
    (peer,) = [peer for peer in PEERS if peer.name == "hitless asgi"]
    async with (
        running(peer, Setup(sys.executable)) as server,
        loading(server.url, "--clients", "4", "--think", "0:0.1") as load,
    ):
        load.step("reloads")
        server.reload("2")
        turn = await follow(server, "2", deadline_s=20)
        report = await load.finish()
        processed = processes.tree(server.pid)
    assert isinstance(turn, Turn)
    assert turn.first_new_s is not None
    assert turn.unanswered == 0
    assert [step["name"] for step in report["steps"]] == ["steady", "reloads"]
    assert not any(pid.alive for pid in processed)


async def test_a_server_that_does_not_start_says_its_last_words():
    (peer,) = [peer for peer in PEERS if peer.name == "hitless asgi"]
    with pytest.raises(NotServing, match="hitless asgi ended with"):
        async with running(peer, Setup(sys.executable, workers=-1)):
            pass
