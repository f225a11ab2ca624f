"""As whom, on which interpreter, and how often an application is imported."""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path

import pytest

from serve.certificates import make_certificate, trusting
from serve.clients import Held, fetch, pids, place, reload, state, tell, unharmed, write_teller
from serve.service import running, wait_for
from serve.test_changes import beside
from serve.venvs import make_venv, public_folder, public_python

THREADED = """
import threading, time
threading.Thread(target=time.sleep, args=(3600,), daemon=True, name="starts at import").start()
from teller import app
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run workers as another user")
def test_workers_run_as_another_user_and_need_not_be_allowed_to_read_the_certificate() -> None:
    python = public_python()
    if python is None:
        pytest.skip("no interpreter of this version that other users may run")
    nobody = pwd.getpwnam("nobody")
    with public_folder() as folder:
        write_teller(folder)
        certificate, key = make_certificate(folder, "secret")
        venv = make_venv(folder / "venv", python)
        with running(folder, python=str(venv)) as service:
            with Held(place(service)) as held:
                assert held.ask().json["uid"] == 0
                reload(service, user="nobody", umask="0077")
                now = held.ask().json
                assert (now["uid"], now["gid"], now["umask"]) == (nobody.pw_uid, nobody.pw_gid, 0o077)
                assert 0 not in now["groups"]
                reload(service, user="nobody", group="daemon")
                assert held.ask().json["gid"] == 1
            reload(service, tls__certificate=str(certificate), tls__key=str(key))
            answer = fetch(place(service), tls=trusting(certificate)).json
            assert (answer["uid"], answer["scheme"]) == (nobody.pw_uid, "https")
            assert not os.access(key, os.R_OK, effective_ids=False) or os.geteuid() == 0
            tell(service, "scale", workers=2)
            assert len(pids(service)) == 2


async def test_the_next_generation_runs_on_another_interpreter(tmp_path: Path) -> None:
    write_teller(tmp_path)
    other = make_venv(tmp_path / "other")
    with running(tmp_path, workers=2) as service:
        async with unharmed(place(service)) as load:
            with Held(place(service)) as held:
                before = held.ask().json
                await beside(reload, service, python=str(other))
                now = held.ask().json
                assert now["prefix"] == str(tmp_path / "other") != before["prefix"]
                assert now["executable"] == str(other)
                await load.more(30)
                answer = await beside(tell, service, "rollback")
                assert answer["outcome"]["status"] == "applied"
                assert held.ask().json["prefix"] == before["prefix"]
                await load.more(30)


@pytest.mark.parametrize("how", ["never", "thread"])
async def test_an_application_that_cannot_be_forked_changes_as_safely(tmp_path: Path, how: str) -> None:
    """One import per worker; reload, scale, recovery and rollback all work."""
    write_teller(tmp_path, module="teller")
    (tmp_path / "app.py").write_text(THREADED if how == "thread" else "from teller import app\n")
    with running(tmp_path, workers=3, fork="auto" if how == "thread" else "never", env={"N": "1"}) as service:
        assert ("template generation=1 unforkable" in service.log) == (how == "thread")
        assert state(service)["generations"][0]["forks"] is False
        async with unharmed(place(service), clients=8) as load:
            write_teller(tmp_path, "v2", module="teller")
            await beside(reload, service, env={"N": "2"})
            assert fetch(place(service)).json["version"] == "v2"
            await load.more(20)
            await beside(tell, service, "scale", workers=4)
            assert len(pids(service)) == 4
            await beside(tell, service, "scale", workers=2)
            await load.more(20)
        victim = sorted(pids(service))[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in pids(service) and len(pids(service)) == 2, 10, what="a replacement")
        async with unharmed(place(service), clients=8):
            answer = await beside(tell, service, "rollback")
            assert answer["outcome"]["status"] == "applied", answer
            assert (await beside(fetch, place(service))).json["env"]["N"] == "1"


PARTS = """
def make(_global, **local):
    def app(environ, start_response):
        start_response("200 OK", [("content-length", "2"), ("x-greeting", local["greeting"])])
        return [b"ok"]
    return app

def mark(_global, word):
    def filter(app):
        def marked(environ, start_response):
            def begin(status, headers, *rest):
                return start_response(status, [*headers, ("x-passed", word)], *rest)
            return app(environ, begin)
        return marked
    return filter
"""

PASTE = """
[pipeline:{name}]
pipeline = {filters} end

[filter:first]
paste.filter_factory = parts:mark
word = one

[filter:second]
paste.filter_factory = parts:mark
word = two

[app:end]
paste.app_factory = parts:make
greeting = {greeting}
"""


async def test_a_paste_pipeline_is_changed_by_editing_its_file(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(PARTS)
    file = tmp_path / "paste.ini"

    def write(filters: str, greeting: str, name: str = "images") -> None:
        file.write_text(PASTE.format(filters=filters, greeting=greeting, name=name))

    write("first", "hello")
    with running(tmp_path, app="paste:paste.ini#images", workers=2) as service:
        async with unharmed(place(service)) as load:
            with Held(place(service)) as held:
                assert held.ask().headers["x-passed"] == "one"
                write("second first", "good day")
                await beside(reload, service)
                answer = held.ask()
                assert (answer.headers["x-passed"], answer.headers["x-greeting"]) == ("one, two", "good day")
                write("missing", "x")
                refused = (await beside(tell, service, "reload"))["outcome"]
                assert (refused["status"], refused["reason"]) == ("rejected", "paste_failed")
                assert "missing" in refused["message"]
                await load.more(20)
                write("second", "hello", name="main")
                await beside(reload, service, app="paste:paste.ini")
                assert held.ask().headers["x-passed"] == "two"
