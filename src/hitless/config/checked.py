"""Values that become settings, or are refused in words that hold no secret of theirs."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hitless.change import Refused
from hitless.config.complaints import complaints, is_secret_at
from hitless.config.document import Data
from hitless.config.keys import KeyPath, scalars
from hitless.config.problems import ConfigError, Problem
from hitless.config.secret import READ
from hitless.config.secrets import SHORTEST, without

M = TypeVar("M", bound=BaseModel)


def checked(
    model: type[M], data: Data, where: Callable[[KeyPath], str]
) -> tuple[M, list[tuple[Path, bytes]]]:
    """The settings, and the files that single values of them were read from.

    Raises:
        ConfigError: the model does not take them; `where` says where each key stands.
        Refused: one of its validators has failed in another way, and has told a secret; without secrets it is raised as it is.
    """
    noted: list[tuple[Path, bytes]] = []
    token = READ.set(noted)
    try:
        return model.model_validate_json(json.dumps(data, default=_as_text), strict=True), noted
    except ValidationError as error:
        hidden = set(_secrets(model, data, noted))
        problems = complaints(error, model, data, where)
        raise ConfigError(
            Problem(each.where, each.key, without(each.message, hidden)) for each in problems
        ) from None
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        shown = without(told, _secrets(model, data, noted))
        if shown == told:
            raise
        message = without(f"unexpected {type(error).__name__}: {error}", _secrets(model, data, noted))
        raise Refused("internal_error", message, shown) from None
    finally:
        READ.reset(token)


def _secrets(model: type[BaseModel], data: Data, noted: Iterable[tuple[Path, bytes]]) -> Iterator[str]:
    texts = [value for path, value in scalars(data) if isinstance(value, str) and is_secret_at(model, path)]
    texts += [content.decode("utf-8", "replace").strip() for _, content in noted]
    for text in texts:
        if len(text) >= SHORTEST:
            yield text
            yield repr(text)[1:-1]


def _as_text(value: Any) -> str:
    """What JSON has no form for: TOML's dates and times, paths that a caller gives as flags."""
    return str(value.isoformat() if hasattr(value, "isoformat") else value)
