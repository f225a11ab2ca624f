"""What WSGI lacks: a start and an end of the application in each worker. An application object that has the coroutine functions
`hitless_startup` and `hitless_shutdown` is told of both (`hitless.live` makes such ones).
"""

from __future__ import annotations

from typing import Any

from hitless.serve.http.errors import StartupFailed


async def wsgi_startup(app: Any) -> None:
    """Raises StartupFailed: it cannot serve."""
    startup = getattr(app, "hitless_startup", None)
    if startup is None:
        return
    try:
        await startup()
    except Exception as error:
        raise StartupFailed(f"{type(error).__name__}: {error}") from error


async def wsgi_shutdown(app: Any) -> None:
    shutdown = getattr(app, "hitless_shutdown", None)
    if shutdown is not None:
        await shutdown()
