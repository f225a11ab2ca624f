"""Every hostile case gets the answer that the RFC wants, and nothing smuggled reaches an application."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve.hostile.case import Case
from serve.hostile.corpus import BY_NAME, CASES, HANDSHAKES
from serve.hostile.encounter import Encounter
from serve.service import Service

Encounters = dict[str, Encounter]


def judge(case: Case, met: Encounter) -> None:
    assert (met.answers, met.seen) == (case.all_answers, case.all_seen), case.section
    assert not met.waits, "the connection is closed in the end"
    assert set(met.begun) <= set(case.begun)
    if met.answers and met.answers[-1] >= 400:
        assert dict(met.fields)["connection"] == "close"
    assert set(case.shows) <= set(met.headers)
    for name, value in met.headers:
        assert name not in case.hides
        assert value not in case.hides


@pytest.mark.parametrize("case", [*CASES, *HANDSHAKES], ids=lambda case: case.name)
def test_asgi_answers_as_the_rfc_wants(case: Case, met_by_asgi: Encounters) -> None:
    judge(case, met_by_asgi[case.name])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_wsgi_answers_as_the_rfc_wants(case: Case, met_by_wsgi: Encounters) -> None:
    judge(case, met_by_wsgi[case.name])


def test_the_corpus_is_large_and_every_name_in_it_is_its_own() -> None:
    assert len(BY_NAME) == len(CASES) + len(HANDSHAKES) > 120


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_the_same_worker_serves_after_all_of_it(
    kind: str, request: pytest.FixtureRequest, met_by_asgi: Encounters, met_by_wsgi: Encounters
) -> None:
    service: tuple[Service, Path] = request.getfixturevalue(kind)
    (generation,) = service[0].status()["generations"]
    assert generation["number"] == 1
    assert "application raised" not in service[0].log
    assert "Traceback" not in service[0].log
