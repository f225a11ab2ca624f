"""Commands by ansible, with a real inventory; one node by ssh, one without."""

from __future__ import annotations

import sys

import pytest
from tests.servers.sshd import Sshd

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.executors import ExecutorError, NotRun, Target, Unreachable
from hitless.rollout.executors.ansible import AnsibleExecutor
from hitless.rollout.executors.settings import AnsibleSettings

ODD = 'it\'s "q" $HOME `id` \\n {{ x }} true\n%s\té'


def soon(seconds: float = 100) -> Deadline:
    return Deadline.after(seconds)


@pytest.fixture
def ansible(sshd: Sshd) -> AnsibleExecutor:
    inventory = sshd.folder / "inventory"
    inventory.write_text(
        f"[all:vars]\nansible_python_interpreter={sys.executable}\nansible_ssh_common_args='-F {sshd.config}'\n"
        "[nodes]\nhere ansible_connection=local\nn1\nn9 ansible_port=1\n"
    )
    return AnsibleExecutor(AnsibleSettings(kind="ansible", inventory=str(inventory)))


@pytest.mark.parametrize("name", ["here", "n1"])
async def test_codes_outputs_words_environment_and_input_arrive(ansible: AnsibleExecutor, name: str) -> None:
    script = 'printf "%s|%s|" "$0" "$ODD"; cat; echo err >&2; exit 3'
    done = await ansible.run(
        Target(name, name), ("sh", "-c", script, ODD), soon(), env={"ODD": ODD}, stdin=b"true {{ y }}\n"
    )
    assert (done.code, done.output, done.errors) == (3, f"{ODD}|{ODD}|true {{{{ y }}}}\n", "err\n")


async def test_what_cannot_be_run_or_reached_is_told(ansible: AnsibleExecutor) -> None:
    with pytest.raises(NotRun, match="there is no program no-such on here"):
        await ansible.run(Target("here", "here"), ("no-such",), soon())
    with pytest.raises(Unreachable, match=r"n9 cannot be reached by ansible: .*Connection refused"):
        await ansible.run(Target("n9", "n9"), ("true",), soon())
    with pytest.raises(ExecutorError, match="Could not match supplied host pattern"):
        await ansible.run(Target("n77", "n77"), ("true",), soon())
    with pytest.raises(NotRun, match="said in ansible's inventory"):
        await ansible.run(Target("here", "here", user="root"), ("true",), soon())


async def test_a_command_is_ended_at_the_deadline(ansible: AnsibleExecutor) -> None:
    with pytest.raises(DeadlinePassed, match=r"sleep on here did not end \(it was ended\)"):
        await ansible.run(Target("here", "here"), ("sleep", "90"), soon(3))
