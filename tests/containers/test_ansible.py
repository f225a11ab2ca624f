"""The Ansible modules in real playbooks: idempotent, with check mode and diff, failing when work was cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.containers.engines import PrivateEngine, busybox_tree

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
QUICK = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.2; done"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.2; done"


class Playbooks:
    """Runs tasks on this machine; `results` are theirs, in order."""

    def __init__(self, folder: Path, engine: PrivateEngine) -> None:
        self.folder, self.engine = folder, engine
        place = folder / "collections" / "ansible_collections" / "hitless"
        place.mkdir(parents=True)
        (place / "containers").symlink_to(ROOT / "ansible")

    def run(self, *tasks: tuple[str, dict[str, Any]], words: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """The results of all tasks; a failed one does not end the play."""
        common = {
            "engine": self.engine.address,
            "state_dir": str(self.folder / "state"),
            "executable": f"{sys.executable} -m hitless",
        }
        results = self.folder / "results.json"
        told = "{{ [" + ", ".join(f"r{number}" for number in range(len(tasks))) + "] | to_json }}"
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [
                *(
                    {
                        f"hitless.containers.{module}": {**common, **params},
                        "ignore_errors": True,
                        "register": f"r{number}",
                    }
                    for number, (module, params) in enumerate(tasks)
                ),
                {
                    "ansible.builtin.copy": {"content": told, "dest": str(results), "mode": "0600"},
                    "check_mode": False,
                },
            ],
        }
        book = self.folder / "play.json"
        book.write_text(json.dumps([play]))
        environ = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(book), *words],
            capture_output=True, text=True, timeout=280, env=environ, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
        found: list[dict[str, Any]] = json.loads(results.read_text())
        return found


@pytest.fixture
def playbooks(docker: PrivateEngine, tmp_path: Path) -> Playbooks:
    return Playbooks(tmp_path, docker)


def test_stop_is_idempotent_and_check_mode_changes_nothing(playbooks: Playbooks, name: str) -> None:
    engine = playbooks.engine
    engine.run(name, "sh", "-c", QUICK)
    engine.await_log(name, "ready")
    stop = ("stop", {"name": [name, f"{name}-nobody"], "wait": "30s"})
    (checked,) = playbooks.run(stop, words=("--check", "--diff"))
    assert checked["changed"], checked
    assert checked["diff"] == {"before": {name: "running"}, "after": {name: "exited"}}
    assert engine.state(name) == "running"
    first, second = playbooks.run(stop, stop)
    assert (first["changed"], first["containers"][0]["outcome"]) == (True, "clean")
    assert not second["changed"]
    assert not second["failed"]
    engine.remove(name)


def test_a_stop_that_cuts_work_fails_the_task_and_says_why(playbooks: Playbooks, name: str) -> None:
    engine = playbooks.engine
    engine.run(name, "sh", "-c", STUBBORN)
    engine.await_log(name, "ready")
    (task,) = playbooks.run(("stop", {"name": [name], "steps": ["SIGTERM 1s"]}))
    assert task["failed"]
    assert "did not end within 1 s and was killed" in task["msg"]
    assert task["containers"][0]["outcome"] == "forced"
    engine.remove(name)


def test_recreate_replaces_once_and_a_broken_image_brings_the_old_one_back(
    playbooks: Playbooks, name: str
) -> None:
    engine = playbooks.engine
    for tag, command in (("good", QUICK), ("bad", "exit 9")):
        engine.load(f"ansible:{tag}", busybox_tree(), f'CMD ["sh", "-c", "{command}"]')
    engine.run(name, "sh", "-c", QUICK)
    engine.await_log(name, "ready")
    was = engine.inspect(name)["Id"]
    good = ("recreate", {"name": [name], "image": "ansible:good", "settle": "1s"})
    (checked,) = playbooks.run(good, words=("--check", "--diff"))
    assert checked["changed"], checked
    assert checked["diff"]["before"] != checked["diff"]["after"]
    assert engine.inspect(name)["Id"] == was
    first, second = playbooks.run(good, good)
    assert (first["changed"], second["changed"]) == (True, False), (first, second)
    now = engine.inspect(name)["Id"]
    assert now != was
    bad, forced = playbooks.run(
        ("recreate", {"name": [name], "image": "ansible:nine"}),
        (
            "recreate",
            {
                "name": [name],
                "image": "ansible:good",
                "settle": "1s",
                "force": True,
                "keep_addresses": False,
                "alternate": {"env": ["PORT=8081", "PORT=8082"]},
            },
        ),
    )
    assert bad["failed"]
    assert "no such image" in bad["msg"]
    assert forced["changed"], forced
    assert forced["containers"][0]["order"] == "new_first", "it has an address of its own"
    assert "PORT=8081" in engine.inspect(name)["Config"]["Env"]
    assert engine.state(name) == "running"
    engine.remove(name)
