"""Finds the application that `app` names, and what it speaks.

Runs in the template: an application's import may do anything, so everything that it raises, `SystemExit` included, becomes a
`LoadFailed` with a reason that names the cause.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

Interface = Literal["asgi", "wsgi", "program"]
MISSING: Final = object()
SPEC: Final = re.compile(r"(?P<module>[^\W\d][\w.]*):(?P<attr>[^\W\d][\w.]*)(?P<call>\(\))?")


class LoadFailed(Exception):
    """The application cannot be had. `reason` is a stable label, `detail` a traceback."""

    def __init__(self, reason: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.reason: Final = reason
        self.message: Final = message
        self.detail: Final = detail


def load(spec: str, interface: str) -> tuple[Any, Interface]:
    """The application named by `spec`, and its interface (looked at, if `interface` is `auto`).

    Raises:
        LoadFailed: with a reason.
    """
    if interface == "program":
        return _load_program(spec), "program"
    app = _load_paste(spec) if spec.startswith("paste:") else _load_module(spec)
    if app is None:
        raise LoadFailed(
            "application_is_none", f"{spec} is None, not an application; does the factory return it?"
        )
    if not callable(app):
        raise LoadFailed("not_an_application", f"{spec} is a {type(app).__name__} and cannot be called")
    if interface == "asgi":
        return app, "asgi"
    if interface == "wsgi":
        return app, "wsgi"
    return app, detect(app, spec)


def _load_program(spec: str) -> Any:
    if spec.startswith("-m "):
        from hitless.serve.program import ModuleProgram

        if not files(spec):
            raise LoadFailed("module_missing", f"there is no module {spec.removeprefix('-m ')}")
        return ModuleProgram(spec.removeprefix("-m "))
    program = _load_module(spec)
    if not callable(program):
        raise LoadFailed("not_an_application", f"{spec} is a {type(program).__name__} and cannot be called")
    return program


def detect(app: Any, spec: str) -> Interface:
    """What `app` speaks: an ASGI 3 application is awaited with three arguments, a WSGI one called with two."""
    if inspect.isclass(app):
        raise LoadFailed("not_an_application", f"{spec} is a class; name an instance, or a factory: {spec}()")
    if _is_awaited(app):
        return "asgi"
    try:
        positional = [
            parameter
            for parameter in inspect.signature(app).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.default is parameter.empty
        ]
    except (TypeError, ValueError):
        positional = []
    if len(positional) == 3:
        return "asgi"
    if len(positional) == 2:
        return "wsgi"
    raise LoadFailed(
        "interface_unknown",
        f'cannot tell whether {spec} is an ASGI or a WSGI application; say interface = "asgi" or "wsgi"',
    )


def _is_awaited(app: Any) -> bool:
    """Whether calling `app` gives a coroutine, as far as it can be seen through wrappers and partials."""
    try:
        while isinstance(app, partial) or hasattr(app, "__wrapped__"):
            app = app.func if isinstance(app, partial) else inspect.unwrap(app)
        call = inspect.unwrap(getattr(type(app), "__call__", app))  # noqa: B004
    except ValueError:
        return False  # it says that it wraps itself
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call)


def _load_module(spec: str) -> Any:
    match = SPEC.fullmatch(spec)
    if match is None:
        raise LoadFailed(
            "application_misnamed",
            f"{spec!r} does not name an application; write module:attr or module:factory()",
        )
    module = _contained(lambda: importlib.import_module(match["module"]), spec=spec, missing=match["module"])
    found = module
    for name in match["attr"].split("."):
        found = _contained(partial(getattr, found, name, MISSING), spec=spec)
        if found is MISSING:
            raise LoadFailed(
                "attribute_missing",
                f"{match['module']} has no {match['attr']}; it is looked for because app is {spec!r}",
            )
    if not match["call"]:
        return found
    if not callable(found):
        raise LoadFailed("not_an_application", f"{spec} cannot be called: it is a {type(found).__name__}")
    return _contained(found, spec=spec, otherwise="factory_failed")


def _load_paste(spec: str) -> Any:
    path, _, name = spec.removeprefix("paste:").partition("#")
    file = Path(path).absolute()
    if not file.is_file():
        raise LoadFailed("paste_file_missing", f"there is no PasteDeploy file {file}")
    try:
        from paste import deploy
    except ImportError:
        raise LoadFailed(
            "paste_not_installed",
            "PasteDeploy is not installed beside the application: pip install 'hitless[paste]'",
        ) from None
    return _contained(
        lambda: deploy.loadapp(f"config:{file}", name=name or None), spec=spec, otherwise="paste_failed"
    )


def _contained(
    call: Callable[[], Any], *, spec: str, otherwise: str = "import_failed", missing: str | None = None
) -> Any:
    """What `call` returns. Whatever it raises becomes a LoadFailed; `missing` is the module that it is to find."""
    try:
        return call()
    except ModuleNotFoundError as error:
        if missing is not None and error.name and (missing + ".").startswith(error.name + "."):
            raise LoadFailed(
                "module_missing", f"there is no module {error.name}, which {spec} names"
            ) from error
        raise _failed(otherwise, spec, error) from error
    except SyntaxError as error:
        raise _failed("syntax_error", spec, error) from error
    except SystemExit as error:
        raise _failed("import_exited", spec, error) from error
    except BaseException as error:
        raise _failed(otherwise, spec, error) from error


def _failed(reason: str, spec: str, error: BaseException) -> LoadFailed:
    detail = "".join(traceback.format_exception(type(error), error, _of_the_application(error.__traceback__)))
    if isinstance(error, SyntaxError) and error.filename is not None:
        text = f"{error.filename}:{error.lineno or 1}: {error.msg}"
    else:
        text = f"{type(error).__name__}: {_said(error)}" + _where(error)
    return LoadFailed(reason, f"loading {spec} failed: {text}", detail)


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever the application's own exception does when it is printed
        return "its message cannot be shown"


def _of_the_application(trace: TracebackType | None) -> TracebackType | None:
    """`trace` without the frames that lead into the application: ours, and the import machinery's."""
    while trace is not None and _leads(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _leads(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename in (__file__, importlib.__file__)


def _where(error: BaseException) -> str:
    """The innermost place outside the import machinery, as file:line."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
        and frame.filename != __file__
        and "importlib" not in frame.filename
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def files(spec: str) -> list[str]:
    """Files that are part of the application's code without being modules."""
    if spec.startswith("paste:"):
        return [str(Path(spec.removeprefix("paste:").partition("#")[0]).absolute())]
    if not spec.startswith("-m "):
        return []
    try:
        found = importlib.util.find_spec(spec.removeprefix("-m "))
    except (ImportError, ValueError):
        return []
    return [found.origin] if found is not None and found.origin is not None else []


def extend_path(directories: list[str]) -> None:
    """Puts `directories` first on the import path, in their order."""
    for directory in reversed(directories):
        if directory in sys.path:
            sys.path.remove(directory)
        sys.path.insert(0, directory)
