"""Commands on this machine, with real processes."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path

import pytest
from tests.rollout.executors.processes import command_lines, having, until

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.executors import ExecutorError, NotRun, Target
from hitless.rollout.executors.local import LocalExecutor
from hitless.rollout.executors.settings import LocalSettings

NODE = Target("n1", "127.0.1.1")
ODD = 'it\'s "q" $HOME `id` \\n {{ x }}\n%s\t\udce9 é'


def soon(seconds: float = 60) -> Deadline:
    return Deadline.after(seconds)


@pytest.mark.parametrize("code", [0, 1, 126, 127, 255])
async def test_the_exit_code_and_both_outputs_are_the_commands_own(code: int) -> None:
    script = f"echo to output; echo to errors >&2; exit {code}"
    done = await LocalExecutor().run(NODE, ("sh", "-c", script), soon())
    assert (done.code, done.output, done.errors) == (code, "to output\n", "to errors\n")
    assert done.ok is (code == 0)


async def test_words_environment_and_input_arrive_as_they_are() -> None:
    program = (
        "import os, sys; out = sys.stdout.buffer; "
        "out.write(b'\\0'.join([os.fsencode(sys.argv[1]), os.environb[b'ODD'], sys.stdin.buffer.read()]))"
    )
    stdin = bytes(range(256)) * 2000
    done = await LocalExecutor().run(
        NODE, (sys.executable, "-c", program, ODD), soon(), env={"ODD": ODD}, stdin=stdin
    )
    expected = b"\0".join([os.fsencode(ODD), os.fsencode(ODD), stdin]).decode(errors="replace")
    assert done.output == expected
    told = await LocalExecutor().run(NODE, ("sh", "-c", "echo $HITLESS_NODE $HITLESS_ADDRESS; cat"), soon())
    assert told.output == "n1 127.0.1.1\n"


async def test_secrets_are_on_no_command_line() -> None:
    secret = secrets.token_hex(8)
    task = asyncio.create_task(LocalExecutor().run(NODE, ("sleep", "59.25"), soon(), env={"TOKEN": secret}))
    await until("59.25", are_there=True)
    assert secret.encode() not in command_lines()
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(
    ("command", "env", "said"),
    [
        ((), {}, "the command is empty"),
        (("tr\0ue",), {}, "has a NUL byte"),
        (("true",), {"A": "b\0c"}, "the variable A has a NUL byte"),
        (("true",), {"A=B; rm": "x"}, "cannot be the name of a variable"),
        (("/nowhere/program",), {}, "there is no program /nowhere/program on n1"),
        (("no-such-program",), {}, "there is no program no-such-program on n1"),
    ],
)
async def test_what_cannot_be_run_is_told(command: tuple[str, ...], env: dict[str, str], said: str) -> None:
    with pytest.raises(NotRun, match=said):
        await LocalExecutor().run(NODE, command, soon(), env=env)


async def test_an_option_that_is_not_known_is_refused() -> None:
    with pytest.raises(NotRun, match="local knows no option port"):
        await LocalExecutor().run(Target("n1", "x", options={"port": "22"}), ("true",), soon())


async def test_at_the_deadline_the_command_and_all_that_it_has_started_are_ended() -> None:
    mark = f"59.{secrets.randbelow(10**8):08d}"
    script = f"trap '' TERM; sleep {mark} & sleep {mark}; sleep {mark}"
    with pytest.raises(DeadlinePassed, match=r"did not end \(it was ended\) within 1 s"):
        await LocalExecutor().run(NODE, ("sh", "-c", script), soon(1))
    await until(mark, are_there=False)


async def test_cancelling_ends_the_command() -> None:
    mark = f"59.{secrets.randbelow(10**8):08d}"
    task = asyncio.create_task(LocalExecutor().run(NODE, ("sleep", mark), soon()))
    await until(mark, are_there=True)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await until(mark, are_there=False)


async def test_a_command_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    """kill -9 of a rollout leaves no command behind that would run beside its repetition."""
    mark = f"59.{secrets.randbelow(10**8):08d}"
    program = (
        "import asyncio\nfrom hitless.change import Deadline\nfrom hitless.rollout.executors import Target\n"
        "from hitless.rollout.executors.local import LocalExecutor\n"
        f"asyncio.run(LocalExecutor().run(Target('n1', 'x'), ('sleep', '{mark}'), Deadline.after(60)))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    await until(mark, are_there=True)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(mark, are_there=False)


async def test_what_a_command_leaves_behind_is_not_waited_for_and_not_ended() -> None:
    mark = f"59.{secrets.randbelow(10**8):08d}"
    done = await LocalExecutor().run(NODE, ("sh", "-c", f"sleep {mark} & echo started"), soon(30))
    assert done.output == "started\n"
    left = having(mark)
    assert len(left) == 1  # it holds both outputs open, and was not ended with its group
    os.kill(left[0], signal.SIGKILL)


async def test_a_command_that_ends_itself_by_a_signal_has_its_code() -> None:
    assert (await LocalExecutor().run(NODE, ("sh", "-c", "kill -9 $$"), soon())).code == 128 + 9
    with pytest.raises(ExecutorError, match="cannot be run here"):
        await LocalExecutor().run(NODE, ("sh", "-c", "kill -9 0"), soon())


async def test_a_hundred_megabytes_of_output_are_read_and_a_little_is_kept() -> None:
    executor = LocalExecutor(LocalSettings(output=10_000))
    size = 100_000_000
    done = await executor.run(
        NODE, ("sh", "-c", f"echo first; head -c {size} /dev/zero; echo last"), soon(100)
    )
    assert done.ok
    assert done.output.startswith("first\n\0")
    assert done.output.endswith("\0last\n")
    assert f"[{size + 11 - 10_000} bytes are not kept]" in done.output
    assert len(done.output) < 11_000


async def test_input_that_nobody_reads_holds_nothing_up() -> None:
    done = await LocalExecutor().run(NODE, ("true",), soon(), stdin=b"x" * 3_000_000)
    assert done.ok


async def test_commands_run_at_once_up_to_a_limit(tmp_path: Path) -> None:
    executor = LocalExecutor(LocalSettings(parallel=4))
    script = f"mkdir {tmp_path}/$$; ls {tmp_path} | wc -l; sleep 0.05; rmdir {tmp_path}/$$"
    done = await asyncio.gather(*(executor.run(NODE, ("sh", "-c", script), soon()) for _ in range(16)))
    at_once = [int(each.output) for each in done]
    assert max(at_once) <= 4
