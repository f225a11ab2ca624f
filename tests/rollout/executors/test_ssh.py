"""Commands over ssh, against a real sshd."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.rollout.executors.processes import having, until
from tests.rollout.executors.test_local import ODD
from tests.servers.sshd import Sshd, running_sshd

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.executors import NotRun, Target, Unreachable
from hitless.rollout.executors.settings import SshSettings
from hitless.rollout.executors.ssh import SshExecutor

NODE = Target("n1", "n1")


def soon(seconds: float = 60) -> Deadline:
    return Deadline.after(seconds)


def executor(server: Sshd, **options: object) -> SshExecutor:
    return SshExecutor(SshSettings(kind="ssh", config=str(server.config), **{"connect": 40, **options}))  # type: ignore[arg-type]


@pytest.fixture
async def ssh(sshd: Sshd) -> AsyncIterator[SshExecutor]:
    made = executor(sshd)
    yield made
    await made.aclose()


async def test_codes_outputs_words_environment_and_input_arrive_over_one_connection(
    ssh: SshExecutor, sshd: Sshd
) -> None:
    done = await ssh.run(NODE, ("sh", "-c", "echo out; echo err >&2; exit 255"), soon())
    assert (done.code, done.output, done.errors) == (255, "out\n", "err\n")
    program = (
        "import os, sys; out = sys.stdout.buffer; "
        "out.write(b'\\0'.join([os.fsencode(sys.argv[1]), os.environb[b'ODD'], sys.stdin.buffer.read()]))"
    )
    stdin = bytes(range(256)) * 1000
    done = await ssh.run(NODE, (sys.executable, "-c", program, ODD), soon(), env={"ODD": ODD}, stdin=stdin)
    assert done.output == b"\0".join([os.fsencode(ODD), os.fsencode(ODD), stdin]).decode(errors="replace")
    with pytest.raises(NotRun, match="there is no program no-such-program on n1"):
        await ssh.run(NODE, ("no-such-program",), soon())
    assert sshd.log.count("Accepted publickey") == 1


async def test_at_the_deadline_the_command_is_ended_over_there(ssh: SshExecutor) -> None:
    mark = f"59.{secrets.randbelow(10**8):08d}"
    task = asyncio.create_task(
        ssh.run(NODE, ("sh", "-c", f"trap '' TERM; sleep {mark}; sleep {mark}"), soon(8))
    )
    await until(mark, are_there=True)
    with pytest.raises(DeadlinePassed, match=r"did not end \(it was ended\) within 8 s"):
        await task
    await until(mark, are_there=False)


async def test_a_connection_that_breaks_is_told_from_a_command_that_fails_and_ends_the_command(
    ssh: SshExecutor,
) -> None:
    mark = f"59.{secrets.randbelow(10**8):08d}"
    task = asyncio.create_task(ssh.run(NODE, ("sleep", mark), soon()))
    await until(mark, are_there=True)
    for pid in sessions_of(having(mark)[0]):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unreachable, match="the connection to n1 broke while sleep") as caught:
        await task
    assert caught.value.was_begun
    await until(mark, are_there=False)


def sessions_of(pid: int) -> list[int]:
    """Processes of sshd above this one, the server itself excepted."""
    found = []
    while pid > 1:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if (
            b"sshd: " in Path(f"/proc/{parent}/cmdline").read_bytes()
            and b"[listener]" not in Path(f"/proc/{parent}/cmdline").read_bytes()
        ):
            found.append(parent)
        pid = parent
    return found


async def test_a_daemon_that_a_command_starts_is_not_waited_for(ssh: SshExecutor) -> None:
    mark = f"59.{secrets.randbelow(10**8):08d}"
    done = await ssh.run(NODE, ("sh", "-c", f"sleep {mark} & echo started"), soon(40))
    assert done.output == "started\n"
    os.kill(having(mark)[0], signal.SIGKILL)


async def test_nobody_there_is_unreachable(sshd: Sshd) -> None:
    made = executor(sshd)
    with pytest.raises(Unreachable, match=r"x \(n9\) cannot be reached: .*Connection refused") as caught:
        await made.run(Target("x", "n9", options={"port": "1"}), ("true",), soon())
    assert not caught.value.was_begun
    with pytest.raises(Unreachable, match=r"cannot be reached: .*(Permission denied|No such)"):
        await made.run(Target("x", "n8", user="nobody-of-this-name"), ("true",), soon())
    await made.aclose()


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-tarpit\r\n"], ids=["no banner", "a banner and no more"])
async def test_a_server_that_hangs_is_unreachable_in_time(sshd: Sshd, says: bytes) -> None:
    hung = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await hung.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.1.9", 0)
    port = server.sockets[0].getsockname()[1]
    made = executor(sshd, connect=1)
    with pytest.raises(Unreachable, match=r"x \(n9\) cannot be reached"):
        await made.run(Target("x", "n9", options={"port": str(port)}), ("true",), soon())
    hung.set()
    server.close()
    await made.aclose()


async def test_a_changed_or_unknown_host_key_is_refused() -> None:
    with running_sshd() as server:
        server.stop()
        server.new_host_key()
        server.start()
        made = executor(server)
        with pytest.raises(Unreachable, match="Host key verification failed") as caught:
            await made.run(NODE, ("true",), soon())
        assert not caught.value.was_begun
        (server.folder / "known_hosts").write_text("")
        with pytest.raises(Unreachable, match="Host key verification failed"):
            await made.run(NODE, ("true",), soon())
        await made.aclose()


@pytest.mark.parametrize("ssh", ["ssh -o StrictHostKeyChecking=no", ["ssh", "-oStrictHostKeyChecking no"]])
def test_the_checking_of_host_keys_cannot_be_switched_off(ssh: str | list[str]) -> None:
    with pytest.raises(ValidationError, match="host keys is not switched off"):
        SshSettings(kind="ssh", ssh=ssh)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "node",
    [
        Target("x", "-oProxyCommand=touch /tmp/x"),
        Target("x", "n1 -v"),
        Target("x", "n1", user="-v"),
        Target("x", "n1", options={"identity": "-v"}),
        Target("x", "n1", options={"proxy": "x"}),
        Target("x", ""),
    ],
)
async def test_no_address_user_or_option_becomes_an_option_of_ssh(sshd: Sshd, node: Target) -> None:
    made = executor(sshd)
    with pytest.raises(NotRun, match="node x: "):
        await made.run(node, ("true",), soon())
    await made.aclose()
