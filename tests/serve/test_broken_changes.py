"""Broken changes: whatever is wrong with one, the old generation goes on serving, and the operator is told why.

Every case is applied by a real `hitless reload` to a real service under keep-alive load. Besides the requests, what the service
holds is compared: processes, descriptors, listening sockets. After each case a good reload must work.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import pytest

from serve.ground import Ground, ground
from serve.service import ASGI_APP, Result, wait_for, write_app

INVALID, REJECTED = 2, 3


@dataclass(frozen=True)
class Case:
    """One thing that an operator can get wrong."""

    apply: Callable[[Ground], object]
    reason: str
    tells: tuple[str, ...]
    code: int = REJECTED

    @property
    def name(self) -> str:
        return self.apply.__name__


CASES: list[Case] = []


def case(
    reason: str, *tells: str, code: int = REJECTED
) -> Callable[[Callable[[Ground], object]], Callable[[Ground], object]]:
    """The outcome of a broken change; `{folder}` in `tells` is the service's."""

    def add(apply: Callable[[Ground], object]) -> Callable[[Ground], object]:
        CASES.append(Case(apply, reason, tells, code))
        return apply

    return add


def prefix(site: Ground, text: str) -> None:
    """The good application with some lines before it."""
    write_app(site.folder, "broken", prefix=text)


def lifespan(site: Ground, startup: str) -> None:
    """An application that runs `startup` when it is started."""
    head, tail = ASGI_APP.format(version="broken").split("            message = await receive()\n", 1)
    body = textwrap.indent(textwrap.dedent(startup), " " * 12)
    site.write("app.py", f"{head}            message = await receive()\n{body}\n{tail}")


def at_request(site: Ground, text: str) -> None:
    """An application that runs `text` at every request."""
    site.write(
        "app.py",
        ASGI_APP.format(version="broken").replace('    body = b""\n', f"    {text}\n    body = b''\n"),
    )


# The code


@case("syntax_error", "loading app:app failed: {folder}/app.py:2: invalid syntax")
def syntax_error_in_the_code(site: Ground) -> None:
    site.write("app.py", "import os\ndef app(:\n")


@case("import_failed", "RuntimeError: no licence", "{folder}/app.py:2")
def exception_at_import(site: Ground) -> None:
    prefix(site, "\nraise RuntimeError('no licence')\n")


@case("import_failed", "No module named 'nothing_like_this'", "{folder}/app.py:1")
def missing_dependency(site: Ground) -> None:
    prefix(site, "import nothing_like_this\n")


@case("import_exited", "SystemExit: 7")
def sys_exit_at_import(site: Ground) -> None:
    prefix(site, "import sys\nsys.exit(7)\n")


@case("template_died", "exited with 9")
def os_exit_at_import(site: Ground) -> None:
    prefix(site, "import os\nos._exit(9)\n")


@case("template_died", "SIGSEGV")
def segmentation_fault_at_import(site: Ground) -> None:
    prefix(site, "import ctypes\nctypes.string_at(0)\n")


@case("template_died", "SIGKILL (out of memory?)")
def killed_at_import(site: Ground) -> None:
    prefix(site, "import os\nos.kill(os.getpid(), 9)\n")


@case("import_failed", "MemoryError", "{folder}/app.py:3")
def memory_limit_at_import(site: Ground) -> None:
    prefix(
        site,
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))\nBIG = bytearray(2**30)\n",
    )


@case("deadline_passed", "the application was not imported within 5 s")
def import_that_hangs(site: Ground) -> None:
    prefix(site, "import threading\nthreading.Event().wait()\n")
    site.set(start__timeout=5.0)


@case("module_missing", "there is no module nothing", "nothing:app")
def missing_module(site: Ground) -> None:
    site.set(app="nothing:app")


@case("module_missing", "there is no module app.deeper")
def missing_submodule(site: Ground) -> None:
    site.set(app="app.deeper:app")


@case("attribute_missing", "app has no application")
def missing_attribute(site: Ground) -> None:
    site.set(app="app:application")


@case("attribute_missing", "app has no app.inner.deeper")
def missing_dotted_attribute(site: Ground) -> None:
    site.set(app="app:app.inner.deeper")


@case("configuration_invalid", "app: expected module:attr", '"app.py"', code=INVALID)
def application_that_is_no_name(site: Ground) -> None:
    site.set(app="app.py")


@case("application_is_none", "app:make() is None", "does the factory return it?")
def factory_that_returns_none(site: Ground) -> None:
    prefix(site, "def make():\n    pass\n")
    site.set(app="app:make()")


@case("factory_failed", "KeyError: 'DATABASE_URL'", "{folder}/app.py:2")
def factory_that_raises(site: Ground) -> None:
    prefix(site, "def make():\n    raise KeyError('DATABASE_URL')\n")
    site.set(app="app:make()")


@case("not_an_application", "app:VERSION is a str and cannot be called")
def application_that_cannot_be_called(site: Ground) -> None:
    site.set(app="app:VERSION")


@case("not_an_application", "app:App is a class", "app:App()")
def application_that_is_a_class(site: Ground) -> None:
    prefix(site, "class App:\n    async def __call__(self, scope, receive, send): ...\n")
    site.set(app="app:App")


@case("interface_unknown", 'interface = "asgi" or "wsgi"')
def interface_that_cannot_be_told(site: Ground) -> None:
    prefix(site, "def anything(*arguments): ...\n")
    site.set(app="app:anything")


# PasteDeploy


@case("paste_file_missing", "{folder}/paste.ini")
def missing_paste_file(site: Ground) -> None:
    site.set(app="paste:paste.ini#main")


@case("paste_failed", "No section 'other'", "paste.ini")
def missing_paste_section(site: Ground) -> None:
    site.write("paste.ini", "[app:main]\npaste.app_factory = app:make\n")
    site.set(app="paste:paste.ini#other")


@case("application_is_none", "paste:paste.ini#main is None")
def paste_factory_that_returns_none(site: Ground) -> None:
    prefix(site, "def make(settings, **local):\n    pass\n")
    site.write("paste.ini", "[app:main]\npaste.app_factory = app:make\n")
    site.set(app="paste:paste.ini#main")


# Starting


@case("lifespan_failed", "the database does not answer")
def startup_that_fails(site: Ground) -> None:
    lifespan(
        site,
        'await send({"type": "lifespan.startup.failed", "message": "the database does not answer"})\nreturn',
    )


@case("lifespan_failed", "x" * 100)
def startup_that_fails_in_a_megabyte(site: Ground) -> None:
    lifespan(site, 'await send({"type": "lifespan.startup.failed", "message": "x" * 1000000})\nreturn')


@case("deadline_passed", "was not ready within 5 s")
def startup_that_hangs(site: Ground) -> None:
    lifespan(site, "import asyncio\nawait asyncio.Event().wait()")
    site.set(start__timeout=5.0)


@case("deadline_passed", "was not ready within 5 s")
def startup_that_blocks_the_loop(site: Ground) -> None:
    lifespan(site, "import threading\nthreading.Event().wait()")
    site.set(start__timeout=5.0)


@case("worker_died", "SIGSEGV", "while starting")
def segmentation_fault_at_startup(site: Ground) -> None:
    lifespan(site, "import ctypes\nctypes.string_at(0)")


@case("worker_died", "SIGKILL (out of memory?)", "while starting")
def killed_at_startup(site: Ground) -> None:
    lifespan(site, "os.kill(os.getpid(), 9)")


@case("worker_died", "exited with 4", "while starting")
def exit_at_startup(site: Ground) -> None:
    lifespan(site, "os._exit(4)")


@case("worker_died", "SIGKILL", "while ready")
def worker_that_dies_while_another_starts(site: Ground) -> None:
    lifespan(
        site,
        """
        import asyncio
        first = True
        try:
            os.mkdir("first")
        except FileExistsError:
            first = False
        if first:
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), 9)
        else:
            await asyncio.sleep(0.5)
        """,
    )
    site.cleanup.callback(os.rmdir, site.folder / "first")


# The health request


@case("health_failed", "/healthz answered 500, not 2xx")
def health_request_answered_500(site: Ground) -> None:
    at_request(site, "assert scope['path'] != '/healthz'")
    site.set(health__path="/healthz")


@case("health_failed", "/healthz answered 200, not 204")
def health_request_answered_otherwise(site: Ground) -> None:
    site.set(health__path="/healthz", health__status="204")


@case("health_failed", "/healthz was not answered within 0.5 s")
def health_request_that_hangs(site: Ground) -> None:
    at_request(site, "import asyncio; await asyncio.Event().wait()")
    site.set(health__path="/healthz", health__timeout=0.5)


@case("worker_died", "exited with 5", "/healthz")
def health_request_that_ends_the_worker(site: Ground) -> None:
    at_request(site, "os._exit(5)")
    site.set(health__path="/healthz")


# The configuration file


@case("configuration_invalid", "hitless.toml:2: is not TOML", code=INVALID)
def syntax_error_in_the_configuration(site: Ground) -> None:
    site.rewrite(lambda text: text.replace("\n", "\nworkers = = 2\n", 1))


@case("configuration_invalid", "hitless.toml:1: wrokers: unknown key; did you mean workers?", code=INVALID)
def unknown_key(site: Ground) -> None:
    site.rewrite(lambda text: "wrokers = 2\n" + text)


@case(
    "configuration_invalid", "hitless.toml:1: drain.timout: unknown key; did you mean timeout?", code=INVALID
)
def unknown_key_in_a_table(site: Ground) -> None:
    site.rewrite(lambda text: "drain.timout = 2\n" + text)


@case("configuration_invalid", "threads: expected a whole number", '"many"', code=INVALID)
def wrong_type(site: Ground) -> None:
    site.set(threads="many")


@case("configuration_invalid", "workers: expected at least 1, got 0", code=INVALID)
def value_out_of_range(site: Ground) -> None:
    site.set(workers=0)


@case("configuration_invalid", "drain.timeout", '"soon"', code=INVALID)
def duration_that_is_none(site: Ground) -> None:
    site.set(drain__timeout="soon")


@case("configuration_invalid", "app: is required", code=INVALID)
def missing_app(site: Ground) -> None:
    site.set(app=None)


@case("configuration_invalid", "hitless.toml:2: is not TOML", code=INVALID)
def key_given_twice(site: Ground) -> None:
    site.rewrite(lambda text: "threads = 2\nthreads = 3\n" + text)


@case("configuration_invalid", "{folder}/hitless.toml: does not exist", code=INVALID)
def deleted_configuration(site: Ground) -> None:
    site.service.config.unlink()


@case("configuration_invalid", "{folder}/hitless.toml: is a directory", code=INVALID)
def configuration_that_is_a_directory(site: Ground) -> None:
    site.service.config.unlink()
    site.service.config.mkdir()


@case("configuration_invalid", "may be written by everybody", "chmod go-w", code=INVALID)
def world_writable_configuration(site: Ground) -> None:
    site.service.config.chmod(0o666)


@case("configuration_invalid", "hitless.toml:2: is not UTF-8", code=INVALID)
def configuration_that_is_not_utf8(site: Ground) -> None:
    site.service.config.write_bytes(b"# one\n# \xff\n" + site.service.config.read_bytes())


@case("configuration_invalid", "is empty", code=INVALID)
def empty_configuration(site: Ground) -> None:
    site.service.config.write_bytes(b"")


@case("fixed_setting_changed", "name cannot change while the service runs", code=INVALID)
def changed_name(site: Ground) -> None:
    site.set(name="other")


@case("fixed_setting_changed", "state_dir cannot change while the service runs", code=INVALID)
def changed_state_directory(site: Ground) -> None:
    site.set(state_dir=str(site.folder / "elsewhere"))


# Addresses


def binds(site: Ground, *more: str) -> None:
    site.set(bind=[*site.good["bind"], *more])


@case("address_duplicate", "'127.0.0.1:0' twice", code=INVALID)
def duplicate_address(site: Ground) -> None:
    binds(site, "127.0.0.1:0")


@case("address_invalid", "bind = 'localhost'", "host:port", code=INVALID)
def malformed_address(site: Ground) -> None:
    binds(site, "localhost")


@case("address_invalid", "bind = 'localhost:65536'", "65535", code=INVALID)
def port_too_large(site: Ground) -> None:
    binds(site, "localhost:65536")


@case("configuration_invalid", "bind: expected at least 1", code=INVALID)
def no_address(site: Ground) -> None:
    site.set(bind=[])


@case("address_busy", "cannot bind 127.0.0.1:{port}: another process uses it")
def busy_port(site: Ground) -> dict[str, object]:
    port = site.cleanup.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
    binds(site, f"127.0.0.1:{port}")
    return {"port": port}


@case("address_busy", "another process listens on {folder}/run/busy.sock")
def busy_unix_socket(site: Ground) -> None:
    path = site.folder / "run/busy.sock"
    listener = site.cleanup.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen()
    site.cleanup.callback(path.unlink)
    binds(site, f"unix:{path}")


@case("address_busy", "{folder}/file exists and is not a socket")
def unix_socket_in_the_place_of_a_file(site: Ground) -> None:
    path = site.write("file", "precious")
    site.cleanup.callback(lambda: path.read_text() == "precious" or pytest.fail("the file was touched"))
    binds(site, f"unix:{path}")


@case("address_unbindable", "cannot bind {folder}/nowhere/socket: No such file or directory")
def unix_socket_in_a_missing_directory(site: Ground) -> None:
    binds(site, f"unix:{site.folder}/nowhere/socket")


@case("address_unbindable", "cannot bind 192.0.2.1:0: this machine has no such address")
def address_of_another_machine(site: Ground) -> None:
    binds(site, "192.0.2.1:0")


@case("address_unbindable", "cannot bind no-such-host.invalid")
def host_without_an_address(site: Ground) -> None:
    binds(site, "no-such-host.invalid:0")


@case("address_unbindable", "cannot bind a..b")
def host_that_is_no_name(site: Ground) -> None:
    binds(site, "a..b:0")


@case("address_unbindable", "descriptor 999 is not an open socket")
def descriptor_that_is_not_open(site: Ground) -> None:
    binds(site, "fd:999")


@case("address_unbindable", "descriptor 1 is not an open socket")
def descriptor_that_is_no_socket(site: Ground) -> None:
    binds(site, "fd:1")


@case("address_unbindable", "descriptor 3 was not inherited")
def descriptor_of_the_service_itself(site: Ground) -> None:
    binds(site, "fd:3")


@case("address_invalid", "LISTEN_FDS", code=INVALID)
def systemd_without_sockets(site: Ground) -> None:
    binds(site, "systemd")


@case("address_busy", "cannot bind 127.0.0.1:{port}: another process uses it")
def addresses_of_which_the_last_is_busy(site: Ground) -> dict[str, object]:
    """Those before it are closed again."""
    port = site.cleanup.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
    binds(site, "[::1]:0", f"unix:{site.folder}/fresh.sock", f"127.0.0.1:{port}")
    return {"port": port}


@case("import_failed", "RuntimeError")
def good_addresses_for_bad_code(site: Ground) -> None:
    prefix(site, "raise RuntimeError\n")
    binds(site, "[::1]:0", f"unix:{site.folder}/fresh.sock")


@case("address_busy", "metrics.bind", "another process uses it")
def busy_metrics_address(site: Ground) -> None:
    port = site.cleanup.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
    site.set(metrics__bind=f"127.0.0.1:{port}")


@case("address_invalid", "metrics.bind = 'everywhere'", code=INVALID)
def malformed_metrics_address(site: Ground) -> None:
    site.set(metrics__bind="everywhere")


# The process


@case("interpreter_missing", "python = '/nowhere/python' does not exist")
def missing_interpreter(site: Ground) -> None:
    site.set(python="/nowhere/python")


@case("interpreter_unusable", "is not executable")
def interpreter_that_is_not_executable(site: Ground) -> None:
    site.set(python=str(site.write("python", "#!/bin/sh\n")))


@case("interpreter_unusable", "Exec format error")
def interpreter_that_is_no_program(site: Ground) -> None:
    path = site.write("python", "no program\n")
    path.chmod(0o755)
    site.set(python=str(path))


@case("interpreter_unusable", "python = '/bin/true'", "exited with 0", "is it a Python with hitless?")
def interpreter_that_is_not_python(site: Ground) -> None:
    site.set(python="/bin/true")


@case("interpreter_without_hitless", "venv/bin/python cannot import hitless[serve]", "No module named")
def interpreter_without_hitless(site: Ground) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(site.folder / "venv")], check=True)
    site.cleanup.callback(shutil.rmtree, site.folder / "venv")
    site.set(python=str(site.folder / "venv/bin/python"))


@case("user_missing", "user = 'nobody-like-this'")
def missing_user(site: Ground) -> None:
    site.set(user="nobody-like-this")


@case("group_missing", "group = 'nobody-like-this'")
def missing_group(site: Ground) -> None:
    site.set(group="nobody-like-this")


@case("directory_missing", "directory = '{folder}/nowhere' is not a directory")
def missing_directory(site: Ground) -> None:
    site.set(directory=str(site.folder / "nowhere"))


@case("environment_invalid", "env", "'A=B'", code=INVALID)
def environment_variable_that_cannot_be(site: Ground) -> None:
    site.set(env={"A=B": "x"})


@case("log_unwritable", "{folder}/nowhere/log", "No such file or directory")
def log_in_a_missing_directory(site: Ground) -> None:
    site.set(log__file=str(site.folder / "nowhere/log"))


# TLS


def keys(site: Ground, name: str) -> tuple[str, str]:
    """A certificate and its key."""
    certificate, key = site.folder / f"{name}.pem", site.folder / f"{name}.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-out", str(certificate), "-keyout", str(key)], check=True, capture_output=True
    )
    return str(certificate), str(key)


@case("tls_invalid", "cannot read {folder}/nowhere.key: No such file or directory")
def missing_tls_key(site: Ground) -> None:
    certificate, _ = keys(site, "one")
    site.set(tls__certificate=certificate, tls__key=str(site.folder / "nowhere.key"))


@case("tls_invalid", "tls.certificate and tls.key belong together", code=INVALID)
def tls_certificate_without_a_key(site: Ground) -> None:
    certificate, _ = keys(site, "one")
    site.set(tls__certificate=certificate)


@case("tls_invalid", "the TLS certificate cannot be used", "KEY_VALUES_MISMATCH")
def tls_key_of_another_certificate(site: Ground) -> None:
    certificate, _ = keys(site, "one")
    _, key = keys(site, "two")
    site.set(tls__certificate=certificate, tls__key=key)


@case("tls_invalid", "{folder}/der.pem")
def tls_certificate_that_is_no_text(site: Ground) -> None:
    _, key = keys(site, "one")
    (site.folder / "der.pem").write_bytes(b"\x30\x82\xff\xfe")
    site.set(tls__certificate=str(site.folder / "der.pem"), tls__key=key)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("broken")
    # Without probation no earlier template is kept, so that what the service holds is exactly one generation.
    # Without bytecode, two versions that are as long as each other and written within one second are told apart.
    with ground(folder, workers=2, start__probation=0, env={"PYTHONDONTWRITEBYTECODE": "1"}) as it:
        yield it


@pytest.mark.parametrize("broken", [pytest.param(each, id=each.name) for each in CASES])
def test_a_broken_change_is_refused_and_costs_nothing(site: Ground, broken: Case) -> None:
    check(site, broken)


def check(site: Ground, broken: Case) -> None:
    site.put_right()

    def apply() -> tuple[Result, dict[str, object]]:
        fields = broken.apply(site)
        return site.reload(), fields if isinstance(fields, dict) else {}

    result, fields = site.assert_unharmed(apply, broken.name)
    outcome = result.json["outcome"]
    assert (result.code, outcome["status"], outcome["reason"]) == (broken.code, "rejected", broken.reason), (
        outcome
    )
    for part in broken.tells:
        assert part.format(folder=site.folder, **fields) in outcome["message"], outcome["message"]
    site.assert_good_reload_works()


PR_CAPBSET_DROP = 24
DAC_OVERRIDE, DAC_READ_SEARCH, SETGID, SETUID = 1, 2, 6, 7


def without_power() -> None:
    """From its next program on this process, even as root, obeys file modes and cannot become somebody else."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH, SETGID, SETUID):
            assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def unreadable_configuration(site: Ground) -> None:
    site.service.config.chmod(0)


def another_user(site: Ground) -> None:
    site.set(user="nobody" if os.geteuid() == 0 else "root")


def log_file_that_may_not_be_written(site: Ground) -> None:
    site.write("foreign", "").chmod(0o444)
    site.set(log__file=str(site.folder / "foreign"))


def unix_socket_where_nothing_may_be_made(site: Ground) -> None:
    closed = site.folder / "closed"
    closed.mkdir(mode=0o555)
    site.cleanup.callback(closed.rmdir)
    site.set(bind=[*site.good["bind"], f"unix:{closed}/socket"])


POWERLESS = [
    Case(
        unreadable_configuration,
        "configuration_invalid",
        ("{folder}/hitless.toml: may not be read by uid",),
        INVALID,
    ),
    Case(another_user, "user_not_permitted", ("as uid" if os.geteuid() == 0 else "only root can run",)),
    Case(log_file_that_may_not_be_written, "log_unwritable", ("{folder}/foreign: Permission denied",)),
    Case(
        unix_socket_where_nothing_may_be_made,
        "address_unbindable",
        ("cannot bind {folder}/closed/socket: Permission denied",),
    ),
]


def test_a_service_without_power_refuses_what_it_may_not_do(tmp_path: Path) -> None:
    with ground(tmp_path, preexec=without_power, workers=1, start__probation=0) as site:
        for broken in POWERLESS:
            check(site, broken)


def test_a_full_state_directory_refuses_every_change_until_there_is_space(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with small_disk(state) as fill, ground(tmp_path, workers=1, start__probation=0) as site:
        site.put_right()
        free = fill(site.service.pid)
        result = site.assert_unharmed(site.reload, "full")
        outcome = result.json["outcome"]
        assert (result.code, outcome["status"], outcome["reason"]) == (
            REJECTED,
            "rejected",
            "journal_unwritable",
        )
        assert (
            f"the journal {state}/journal.sqlite" in outcome["message"]
            or "the disk of the journal" in outcome["message"]
        )
        free()
        site.assert_good_reload_works()
        assert site.call("history")[0]["status"] == "applied"


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], Callable[[], None]]]:
    """`folder` on a disk of its own; the function fills it and returns one that frees it.

    Where nothing can be mounted, the limit of the process on file sizes takes the place of the disk's end.
    """
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )

    def fill(pid: int) -> Callable[[], None]:
        if mounted.returncode:
            size = (folder / "journal.sqlite-wal").stat().st_size
            soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
            return lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard)) and None
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            file.writelines(repeat(bytes(4096)))
        return ballast.unlink

    try:
        yield fill
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_service_out_of_descriptors_refuses_changes_and_goes_on(tmp_path: Path) -> None:
    with ground(tmp_path, workers=2, start__probation=0) as site:
        site.put_right()
        pid = site.service.pid
        # It can never be applied: with descriptors enough, the health request is what refuses it.
        site.set(health__path="/", health__status="204", bind=[*site.good["bind"], "[::1]:0"])

        def with_ever_more() -> list[tuple[int, str, str]]:
            """The outcomes of reloads with room for one more descriptor each time, until there is enough."""
            seen: list[tuple[int, str, str]] = []
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            used = site.holdings().descriptors
            try:
                while not seen or seen[-1][1] == "descriptors_exhausted":
                    wait_for(
                        lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())) == used,
                        10,
                        what="the last one is over",
                    )
                    room = used + 1 + len(seen)  # one for the command's connection
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, (room, limits[1]))
                    result = site.reload()
                    outcome = result.json["outcome"]
                    seen.append((result.code, outcome["reason"], outcome["message"]))
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            return seen

        *refused, last = site.assert_unharmed(with_ever_more, "descriptors")
        assert (last[0], last[1]) == (REJECTED, "health_failed"), last
        assert len(refused) >= 4
        for code, _, message in refused:
            assert code == REJECTED
            assert "no file descriptors left" in message
        site.assert_good_reload_works()


def test_a_refused_change_leaves_the_way_back_open(tmp_path: Path) -> None:
    """The template that probation keeps for a rollback is still there, and still good."""
    with ground(tmp_path, workers=1) as site:
        site.assert_good_reload_works()
        prefix(site, "raise RuntimeError\n")
        assert site.assert_unharmed(site.reload, "refused").code == REJECTED
        answer = site.call("rollback")
        assert answer["outcome"]["status"] == "applied"
        assert site.answer().split()[0] == "v1"


def test_the_matrix_has_as_many_cases_as_were_promised() -> None:
    assert len(CASES) >= 36
