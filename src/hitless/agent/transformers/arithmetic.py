"""`arithmetic`: one meter computed from others of the same resource, as `100 * $(memory.usage) / $(memory)`."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import Field, StrictStr

from hitless.agent.sample import Sample, SampleKind
from hitless.agent.transformers.expression import Expression
from hitless.agent.transformers.memory import Memory
from hitless.agent.transformers.parameters import Parameters, Scope, parsed
from hitless.agent.transformers.transformer import BadParameters

log = logging.getLogger(__name__)

METER: Final = re.compile(r"\$\(([\w.\-]+)\)(\.?)")
"""A meter in an expression; followed by a dot, one of its fields, else its volume."""


class Result(Parameters):
    expr: StrictStr
    name: Annotated[StrictStr, Field(min_length=1)] | None = None
    unit: StrictStr | None = None
    type: SampleKind | None = None


class ArithmeticParameters(Parameters):
    target: Result


class Arithmetic:
    """Computed as soon as there is a sample of each of the meters, at the end of the batch with the last of them.

    The samples themselves do not go on. What the result has not been given (name, unit, type) is that of the first meter in the
    expression, as are its metadata.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises BadParameters."""
        self._target: Final = parsed(ArithmeticParameters, parameters).target
        self._names: Final[dict[str, str]] = {}
        text = METER.sub(self._named, self._target.expr)
        if not self._names:
            raise BadParameters(
                f"there is no meter in {self._target.expr}; write at least one as $(NAME)", ("target", "expr")
            )
        try:
            self._expression: Final = Expression(text, self._names.values())
        except ValueError as error:
            raise BadParameters(str(error), ("target", "expr")) from None
        self._first: Final = next(iter(self._names))
        self._samples: Final[Memory[str, dict[str, Sample]]] = Memory()
        self._complete: Final[dict[str, dict[str, Sample]]] = {}
        self._latest: Sample | None = None

    def _named(self, match: re.Match[str]) -> str:
        name = self._names.setdefault(match[1], f"meter{len(self._names)}")
        return f"{name}." if match[2] else f"{name}.volume"

    def handle(self, sample: Sample) -> Sample | None:
        self._latest = sample
        if sample.name in self._names:
            found = self._samples.setdefault(sample.resource, {})
            found[sample.name] = sample
            if len(found) == len(self._names):
                self._complete[sample.resource] = found
        return None

    def flush(self) -> Iterable[Sample]:
        results = []
        for resource, found in self._complete.items():
            self._samples.pop(resource)
            if (result := self._result(found)) is not None:
                results.append(result)
        self._complete.clear()
        return results

    def close(self) -> Iterable[Sample]:
        """What is not complete cannot be computed."""
        return ()

    def _result(self, found: Mapping[str, Sample]) -> Sample | None:
        first, target, latest = found[self._first], self._target, self._latest or found[self._first]
        try:
            volume = self._expression.value(
                {name: Scope(found[meter]) for meter, name in self._names.items()}
            )
            if math.isnan(volume):
                raise ArithmeticError("it is not a number")
        except (ArithmeticError, TypeError, ValueError) as error:
            log.warning("%s cannot be computed for %s: %s", target.expr, first.resource, error)
            return None
        return first._replace(
            name=target.name or first.name,
            unit=first.unit if target.unit is None else target.unit,
            kind=target.type or first.kind,
            volume=volume,
            at=latest.at,
            monotonic=latest.monotonic,
        )
