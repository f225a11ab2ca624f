"""Samples as lines of JSON, quickly: `json.dumps(sample.to_json())`, with what comes again and again written once."""

from __future__ import annotations

import json
import json.encoder
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from hitless.agent.sample import Sample, timestamp

TEXTS_KEPT: Final = 65_536
"""Names, units, resources and sources are the same in every tick."""

_quoted: Final = lru_cache(TEXTS_KEPT)(encode_basestring_ascii)


def _fast() -> Callable[[Mapping[str, Any]], str]:
    """`json.dumps` makes an encoder for every call, which costs more than a few fields do."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return json.dumps
    encode = make(
        None, json.JSONEncoder().default, encode_basestring_ascii, None, ": ", ", ", False, False, True
    )
    return lambda found: "".join(encode(found, 0))


_object: Final = _fast()


@lru_cache(1024)
def _head(name: str, kind: str, unit: str) -> str:
    """The same for all samples of a meter."""
    return f'{{"counter_name": {_quoted(name)}, "counter_type": "{kind}", "counter_unit": {_quoted(unit)}, "counter_volume": '


def line(sample: Sample) -> str:
    """Without its end."""
    name, volume, unit, resource, at, kind, source, metadata, project, user, _ = sample
    number = float.__repr__(volume) if type(volume) is float and math.isfinite(volume) else json.dumps(volume)
    about = _object(dict(metadata)) if metadata else "{}"
    tail = "" if project is None else f', "project_id": {_quoted(project)}'
    if user is not None:
        tail += f', "user_id": {_quoted(user)}'
    return (
        f'{_head(name, kind, unit)}{number}, "resource_id": {_quoted(resource)}, "timestamp": "{timestamp(at)}",'
        f' "source": {_quoted(source)}, "resource_metadata": {about}{tail}}}'
    )


def lines(samples: Sequence[Sample]) -> bytes:
    """Each with its end."""
    return ("\n".join(map(line, samples)) + "\n").encode() if samples else b""
