"""Where uvicorn or gunicorn understand a hostile case otherwise, the reason stands in a table; nowhere else do they."""

from __future__ import annotations

import pytest

from serve.hostile.case import Case
from serve.hostile.corpus import BY_NAME, CASES, HANDSHAKES
from serve.hostile.differences import DIFFERENCES, EXPLAINED, SAME, VARIES
from serve.hostile.encounter import Encounter

Encounters = dict[str, Encounter]


def difference(ours: Encounter, theirs: Encounter, explained: str) -> str:
    if explained == VARIES:
        return VARIES
    return SAME if str(theirs) == str(ours) else str(theirs)


@pytest.mark.parametrize("case", [*CASES, *HANDSHAKES], ids=lambda case: case.name)
def test_uvicorn_differs_only_as_explained(
    case: Case, met_by_asgi: Encounters, met_by_uvicorn: Encounters
) -> None:
    explained, _ = DIFFERENCES.get(case.name, (SAME, SAME))
    assert difference(met_by_asgi[case.name], met_by_uvicorn[case.name], explained) == explained


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gunicorn_differs_only_as_explained(
    case: Case, met_by_wsgi: Encounters, met_by_gunicorn: Encounters
) -> None:
    _, explained = DIFFERENCES.get(case.name, (SAME, SAME))
    assert difference(met_by_wsgi[case.name], met_by_gunicorn[case.name], explained) == explained


def test_every_explanation_is_of_a_case_and_of_one_only() -> None:
    names = [name for _, cases in EXPLAINED for name in cases]
    assert set(names) <= set(BY_NAME)
    assert len(names) == len(set(names))
