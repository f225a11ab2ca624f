from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from hitless.serve.loaders import LoadFailed, extend_path, load

numbers = itertools.count()
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module and returns its name, which no other test has imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        name = f"loaded_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return name

    return write


def failure(spec: str, interface: str = "auto") -> LoadFailed:
    with pytest.raises(LoadFailed) as caught:
        load(spec, interface)
    return caught.value


KINDS = """
    import functools

    async def asgi(scope, receive, send): ...
    def wsgi(environ, start_response): ...
    def returns_coroutine(scope, receive, send): ...
    def wsgi_with_more(environ, start_response, *, debug=False): ...

    class Asgi:
        async def __call__(self, scope, receive, send): ...
        async def method(self, scope, receive, send): ...

    class Wsgi:
        def __call__(self, environ, start_response): ...
        def method(self, environ, start_response): ...

    asgi_object, wsgi_object = Asgi(), Wsgi()
    asgi_method, wsgi_method = asgi_object.method, wsgi_object.method

    @functools.wraps(asgi)
    def asgi_wrapped(*arguments): return asgi(*arguments)

    @functools.wraps(wsgi)
    def wsgi_wrapped(*arguments): return wsgi(*arguments)

    asgi_partial = functools.partial(lambda prefix, scope, receive, send: None, "prefix")
    wsgi_partial = functools.partial(lambda prefix, environ, start_response: None, "prefix")
    asgi_cached = functools.lru_cache(asgi)
    asgi_object_partial = functools.partial(asgi_object.method)

    class inner:
        class deeper:
            app = wsgi_object
"""


@pytest.mark.parametrize(
    ("attribute", "interface"),
    [
        ("asgi", "asgi"),
        ("wsgi", "wsgi"),
        ("returns_coroutine", "asgi"),
        ("wsgi_with_more", "wsgi"),
        ("asgi_object", "asgi"),
        ("wsgi_object", "wsgi"),
        ("asgi_method", "asgi"),
        ("wsgi_method", "wsgi"),
        ("asgi_wrapped", "asgi"),
        ("wsgi_wrapped", "wsgi"),
        ("asgi_partial", "asgi"),
        ("wsgi_partial", "wsgi"),
        ("asgi_cached", "asgi"),
        ("asgi_object_partial", "asgi"),
        ("inner.deeper.app", "wsgi"),
        ("Asgi()", "asgi"),
        ("Wsgi()", "wsgi"),
    ],
)
def test_what_an_application_speaks_is_seen(write: Write, attribute: str, interface: str) -> None:
    app, seen = load(f"{write(KINDS)}:{attribute}", "auto")
    assert callable(app)
    assert seen == interface


def test_what_the_configuration_says_is_believed(write: Write) -> None:
    name = write("def anything(*arguments): ...")
    assert load(f"{name}:anything", "asgi")[1] == "asgi"
    assert load(f"{name}:anything", "wsgi")[1] == "wsgi"
    assert failure(f"{name}:anything").reason == "interface_unknown"


@pytest.mark.parametrize(
    "spec", ["app", "app:", ":app", "app:make(1)", "a-b:app", "app.py", "1:2", "", "a:b c"]
)
def test_what_is_no_name_of_an_application_is_refused(spec: str) -> None:
    failed = failure(spec)
    assert failed.reason == "application_misnamed"
    assert "module:attr" in failed.message


@pytest.mark.parametrize(
    ("text", "attribute", "reason", "tells"),
    [
        ("def (", "app", "syntax_error", "{file}:1: invalid syntax"),
        (
            "\nimport nothing_like_this",
            "app",
            "import_failed",
            "No module named 'nothing_like_this' ({file}:2)",
        ),
        ("from os import nothing", "app", "import_failed", "ImportError: cannot import name 'nothing'"),
        ("1 / 0", "app", "import_failed", "ZeroDivisionError: division by zero ({file}:1)"),
        ("raise SystemExit", "app", "import_exited", "SystemExit"),
        ("raise KeyboardInterrupt", "app", "import_failed", "KeyboardInterrupt"),
        ("app = None", "app", "application_is_none", "does the factory return it?"),
        ("app = 3", "app", "not_an_application", "is a int and cannot be called"),
        ("app = 3", "app()", "not_an_application", "it is a int"),
        ("class App: ...", "App", "not_an_application", "name an instance, or a factory"),
        ("", "app", "attribute_missing", "has no app"),
        ("class a: ...", "a.b.c", "attribute_missing", "has no a.b.c"),
        ("def make(): raise OSError(5, 'no disk')", "make()", "factory_failed", "no disk ({file}:1)"),
        ("def make(): raise SystemExit(3)", "make()", "import_exited", "SystemExit: 3"),
        ("def make(settings): ...", "make()", "factory_failed", "missing 1 required positional argument"),
        ("def __getattr__(name): raise RuntimeError('lazy')", "app", "import_failed", "RuntimeError: lazy"),
        (
            "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
            "app",
            "import_failed",
            "E: its message cannot be shown ({file}:3)",
        ),
    ],
)
def test_whatever_loading_raises_is_a_reason_with_its_cause(
    write: Write, tmp_path: Path, text: str, attribute: str, reason: str, tells: str
) -> None:
    name = write(text)
    failed = failure(f"{name}:{attribute}")
    assert failed.reason == reason
    assert tells.format(file=tmp_path / f"{name}.py") in failed.message


def test_code_that_is_no_text_is_a_syntax_error(write: Write, tmp_path: Path) -> None:
    for content, tells in ((b"x = '\xff'\n", "utf-8"), (b"x = '\0'\n", "null bytes")):
        name = write("")
        (tmp_path / f"{name}.py").write_bytes(content)
        failed = failure(f"{name}:app")
        assert failed.reason == "syntax_error"
        assert tells in failed.message
        assert "None" not in failed.message


def test_a_missing_module_is_told_from_one_that_it_imports(write: Write) -> None:
    assert failure("nothing_like_this:app").reason == "module_missing"
    name = write("import nothing_like_this")
    assert failure(f"{name}:app").reason == "import_failed"
    assert failure(f"{name}.deeper:app").reason == "import_failed"
    plain = write("")
    assert "there is no module" in failure(f"{plain}.deeper:app").message


def test_the_detail_is_the_traceback(write: Write) -> None:
    name = write("def make():\n    return broken()\n\ndef broken():\n    return {}['key']\n")
    failed = failure(f"{name}:make()")
    assert failed.message.endswith(":5)"), "the innermost place"
    assert "in make" in failed.detail
    assert "in broken" in failed.detail


PASTE = """
    [app:main]
    paste.app_factory = {name}:make
    greeting = hello

    [app:none]
    paste.app_factory = {name}:make_none
"""


def test_paste_applications_are_loaded_with_their_settings(write: Write, tmp_path: Path) -> None:
    name = write(
        """
        def make(settings, greeting):
            def app(environ, start_response): return greeting
            return app
        def make_none(settings): ...
        """
    )
    (tmp_path / "paste.ini").write_text(textwrap.dedent(PASTE.format(name=name)))
    for spec in ("paste:paste.ini#main", "paste:paste.ini", f"paste:{tmp_path}/paste.ini"):
        app, interface = load(spec, "auto")
        assert (app({}, None), interface) == ("hello", "wsgi")
    assert failure("paste:paste.ini#none").reason == "application_is_none"
    other = failure("paste:paste.ini#other")
    assert other.reason == "paste_failed"
    assert "No section 'other'" in other.message
    assert failure("paste:nothing.ini").reason == "paste_file_missing"


def test_a_paste_file_that_is_none_is_told(write: Write, tmp_path: Path) -> None:
    (tmp_path / "paste.ini").write_text("no section\n")
    failed = failure("paste:paste.ini")
    assert failed.reason == "paste_failed"
    assert "paste.ini" in failed.message


def test_the_import_path_begins_with_the_directories_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/lib", "/srv/app", "/more"])
    extend_path(["/srv/app", "/srv/plugins"])
    assert sys.path == ["/srv/app", "/srv/plugins", "/lib", "/more"]
