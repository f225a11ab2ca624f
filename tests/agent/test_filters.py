"""Filters take what Ceilometer's take: decided by Ceilometer's own code, read from its package."""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitless.agent.filters import Filter, complaint_of

NAMES = ["cpu", "disk.read", "disk.write.bytes", "storage.objects", "memory", ""]


@pytest.fixture(scope="session")
def theirs(ceilometers: dict[str, Path]) -> Any:
    """Ceilometer's class for sources, with its log library, which is not needed for it, left out."""
    log = types.ModuleType("oslo_log")
    log.log = types.SimpleNamespace(getLogger=logging.getLogger)  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location(
        "ceilometer_agent", ceilometers["27.0.0"] / "ceilometer/agent.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "oslo_log", log)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("patterns", "complaint"),
    [
        (["*"], None),
        (["cpu"], None),
        (["disk.*"], None),
        (["!disk.*"], None),
        (["*", "!disk.*"], None),
        (["*.bytes", "cpu"], None),
        (["*", "cpu"], 'the wildcard "*" takes cpu too'),
        (["cpu", "!disk.*"], "names (cpu) and exclusions (!disk.*) do not go together"),
        ([], "at least one"),
        ([""], "may not be empty"),
        (["!"], "may not be empty"),
    ],
)
def test_each_row_of_the_table_is_taken_or_refused(patterns: list[str], complaint: str | None) -> None:
    found = complaint_of(patterns)
    assert (complaint in found) if complaint is not None and found else found is complaint
    if complaint is not None:
        with pytest.raises(ValueError, match=r"\w"):
            Filter(patterns)


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (["*"], {"cpu", "disk.read", "disk.write.bytes", "storage.objects", "memory", ""}),
        (["cpu"], {"cpu"}),
        (["disk.*"], {"disk.read", "disk.write.bytes"}),
        (["!disk.*"], {"cpu", "storage.objects", "memory", ""}),
        (["*", "!disk.*"], {"cpu", "storage.objects", "memory", ""}),
        (["*.bytes", "cpu"], {"disk.write.bytes", "cpu"}),
        (["disk.[!r]*"], {"disk.write.bytes"}),
    ],
)
def test_deny_comes_before_allow_and_only_denials_allow_the_rest(
    patterns: list[str], taken: set[str]
) -> None:
    assert {name for name in NAMES if Filter(patterns).takes(name)} == taken


PATTERN = st.text(alphabet="ab.*?![]-\n", min_size=1, max_size=6).filter(lambda text: text != "!")


@given(patterns=st.lists(PATTERN, max_size=4), name=st.text(alphabet="ab.!-\n", max_size=6))
@settings(max_examples=500, deadline=None)
def test_ceilometer_itself_decides_the_same(theirs: Any, patterns: list[str], name: str) -> None:
    try:
        source = theirs.Source({"name": "any"})
        source.check_source_filtering(patterns, "meters")
    except theirs.SourceException:
        assert complaint_of(patterns) is not None
        return
    assert complaint_of(patterns) is None
    assert Filter(patterns).takes(name) == theirs.Source.is_supported(patterns, name)
