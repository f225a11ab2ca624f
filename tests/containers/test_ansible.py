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


Task = tuple[str, dict[str, Any], dict[str, Any]]
"""A module, its parameters, and keywords of the task."""
CHECKED: dict[str, Any] = {"check_mode": True, "diff": True}


class Playbooks:
    """Runs tasks on this machine; `results` are theirs, in order."""

    def __init__(self, folder: Path, engine: PrivateEngine) -> None:
        self.folder, self.engine = folder, engine
        place = folder / "collections" / "ansible_collections" / "hitless"
        place.mkdir(parents=True)
        (place / "containers").symlink_to(ROOT / "ansible")

    def run(self, *tasks: Task) -> list[dict[str, Any]]:
        """The results of all tasks; a failed one does not end the play. One playbook, because each takes seconds to start."""
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
                        **keywords,
                    }
                    for number, (module, params, keywords) in enumerate(tasks)
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
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(book)],
            capture_output=True, text=True, timeout=280, env=environ, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
        found: list[dict[str, Any]] = json.loads(results.read_text())
        return found


@pytest.fixture
def playbooks(docker: PrivateEngine, tmp_path: Path) -> Playbooks:
    return Playbooks(tmp_path, docker)


def test_stop_is_idempotent_checks_without_a_change_and_fails_where_work_was_cut(
    playbooks: Playbooks, name: str
) -> None:
    engine = playbooks.engine
    engine.run(name, "sh", "-c", QUICK)
    engine.await_log(name, "ready")
    stubborn = f"{name}-stubborn"
    engine.run(stubborn, "sh", "-c", STUBBORN)
    engine.await_log(stubborn, "ready")
    stop = {"name": [name, f"{name}-nobody"], "wait": "30s"}
    cuts = {"name": [stubborn], "steps": ["SIGTERM 1s"]}
    checked, first, second, cut = playbooks.run(
        ("stop", stop, CHECKED), ("stop", stop, {}), ("stop", stop, {}), ("stop", cuts, {})
    )
    assert checked["changed"], checked
    assert checked["diff"] == {"before": {name: "running"}, "after": {name: "exited"}}
    # It still ran after the check: a stop of what does not run is no change, and not "clean".
    assert (first["changed"], first["containers"][0]["outcome"]) == (True, "clean")
    assert not second["changed"]
    assert not second["failed"]
    assert cut["failed"]
    assert "did not end within 1 s and was killed" in cut["msg"]
    assert cut["containers"][0]["outcome"] == "forced"
    engine.remove(name, stubborn)


def test_recreate_replaces_once_and_a_broken_image_brings_the_old_one_back(
    playbooks: Playbooks, name: str
) -> None:
    engine = playbooks.engine
    for tag, command in (("good", QUICK), ("bad", "exit 9")):
        engine.load(f"ansible:{tag}", busybox_tree(), f'CMD ["sh", "-c", "{command}"]')
    engine.run(name, "sh", "-c", QUICK)
    engine.await_log(name, "ready")
    was = engine.inspect(name)["Id"]
    good = {"name": [name], "image": "ansible:good", "settle": "1s"}
    missing = {"name": [name], "image": "ansible:nine"}
    alternate = {"env": ["PORT=8081", "PORT=8082"]}
    anew = {**good, "force": True, "keep_addresses": False, "alternate": alternate}
    checked, first, second, bad, forced = playbooks.run(
        ("recreate", good, CHECKED),
        ("recreate", good, {}),
        ("recreate", good, {}),
        ("recreate", missing, {}),
        ("recreate", anew, {}),
    )
    assert checked["changed"], checked
    assert checked["diff"]["before"] != checked["diff"]["after"]
    # The check has replaced nothing: else the first would find nothing to do.
    assert (first["changed"], second["changed"]) == (True, False), (first, second)
    assert first["containers"][0]["id"] != was
    assert bad["failed"]
    assert "no such image" in bad["msg"]
    assert forced["changed"], forced
    assert forced["containers"][0]["order"] == "new_first", "it has an address of its own"
    assert "PORT=8081" in engine.inspect(name)["Config"]["Env"]
    assert engine.state(name) == "running"
    engine.remove(name)
