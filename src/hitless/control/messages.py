"""The words of the control protocol: one JSON object per line, over a Unix stream socket.

    → {"id": 1, "method": "reload", "params": {"wait": true}}
    ← {"id": 1, "event": {"name": "change.prepared", "fields": {"seconds": 1.2}}}      any number of these
    ← {"id": 1, "result": {"status": "applied", …}}                                     then one of these two
    ← {"id": 1, "error": {"code": "unknown_method", "message": "…", "detail": null}}

Requests of one connection are answered one after the other. `id` is any number or string of the client's
choice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias

from hitless.change import JSON
from hitless.control.errors import ControlError

Id: TypeAlias = int | str | None

LINE_LIMIT: Final = 1024 * 1024
"""Bytes of one request."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came over the wire."""

    id: Id
    method: str
    params: Mapping[str, JSON]


def encode(message: Mapping[str, JSON]) -> bytes:
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def call(id: int, method: str, params: Mapping[str, JSON]) -> bytes:  # noqa: A002
    return encode({"id": id, "method": method, "params": params})


def event(id: Id, name: str, fields: Mapping[str, JSON]) -> bytes:  # noqa: A002
    return encode({"id": id, "event": {"name": name, "fields": fields}})


def result(id: Id, value: JSON) -> bytes:  # noqa: A002
    return encode({"id": id, "result": value})


def error(id: Id, problem: ControlError) -> bytes:  # noqa: A002
    body: JSON = {"code": problem.code, "message": problem.message, "detail": problem.detail}
    return encode({"id": id, "error": body})


def decode(line: bytes) -> dict[str, JSON]:
    """The object of one line.

    Raises:
        ControlError: `malformed`: it is no JSON object.
    """
    try:
        message = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise ControlError("malformed", f"the line is not JSON: {problem}") from None
    if not isinstance(message, dict):
        raise ControlError("malformed", "the line is not a JSON object")
    return message


def to_call(message: Mapping[str, JSON]) -> Call:
    """The request that an object stands for.

    Raises:
        ControlError: `malformed`: a part is missing or of a wrong type.
    """
    match message:
        case {"method": str(method), **rest}:
            id_, params = id_of(message), rest.get("params")
            if params is not None and not isinstance(params, dict):
                raise ControlError("wrong_params", "params must be an object")
            if unknown := sorted(set(rest) - {"id", "params"}):
                raise ControlError(
                    "malformed", f"a request has id, method and params, not {', '.join(unknown)}"
                )
            return Call(id_, method, params or {})
        case _:
            raise ControlError("malformed", "a request needs a method, as a string")


def id_of(message: Mapping[str, JSON]) -> Id:
    """What the answer must carry, so that the client knows what it answers.

    Raises:
        ControlError: `malformed`: it is neither a whole number nor a string.
    """
    value = message.get("id")
    if value is None or (isinstance(value, int | str) and not isinstance(value, bool)):
        return value
    raise ControlError("malformed", "id must be a whole number or a string")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
