"""A secret as a setting: the text itself, or `file:PATH` for the content of a file (as containers and systemd give them)."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, SecretStr

from hitless.config.file import read_content
from hitless.config.problems import ConfigError

PREFIX: Final = "file:"
SIZE_LIMIT: Final = 64 * 1024


READ: Final[ContextVar[list[tuple[Path, bytes]] | None]] = ContextVar("secrets", default=None)
"""Notes the files that a load reads, with their content; None where nobody wants to know."""


def read_secret(value: object) -> object:
    """What `file:PATH` names, without its last line break; anything else as it is.

    Raises:
        ValueError: the file cannot be read, is empty or not text; the message does not show what is in it.
    """
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return value
    path = Path(value.removeprefix(PREFIX))
    try:
        content = read_content(path)
    except ConfigError as error:
        raise ValueError(f"the secret file {path} {error.problems[0].message}") from None
    if (noted := READ.get()) is not None:
        noted.append((path, content))
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"the secret file {path} is not UTF-8") from None
    if not text or len(content) > SIZE_LIMIT:
        raise ValueError(f"the secret file {path} is {'too large' if text else 'empty'}")
    return text


Secret = Annotated[SecretStr, BeforeValidator(read_secret, json_schema_input_type=str)]
"""A `SecretStr`; never shown in messages, diffs, logs or the journal."""
