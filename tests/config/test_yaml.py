"""YAML is read strictly: what is written is what is meant, and every problem has its line."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.config.models import Settings

from hitless.config import ConfigError, load
from hitless.config.yaml import YamlFile, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("5", 5),
        ("-5", -5),
        ("0o17", 15),
        ("0x1f", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("1_000", "1_000"),
        ("1.2.3", "1.2.3"),
        ("[a, 1]", ["a", 1]),
        ("{a: {b: on}}", {"a": {"b": "on"}}),
    ],
)
def test_a_value_is_what_yaml_1_2_says(text: str, value: object) -> None:
    assert parse_yaml(f"key: {text}\n", "x.yaml").data == {"key": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: a stands here and on line 1; keep one"),
        ("a: {b: 1, b: 2}\n", "x.yaml:1: b stands here and on line 1; keep one"),
        (
            "a: !!python/object:os.system {}\n",
            "x.yaml:1: the tag tag:yaml.org,2002:python/object:os.system is not",
        ),
        ("a: &a\n  <<: *a\n", "x.yaml:2: merge keys (<<) are not taken"),
        ("a: &a [*a]\n", "x.yaml:1: an alias stands inside of what it stands for"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: is not YAML"),
        ("a: [1\nb: 2\n", "x.yaml:2: is not YAML"),
        ("\tb: 2\n", "x.yaml:1: is not YAML"),
        ("? [a]\n: 1\n", "x.yaml:1: a key must be text"),
        ("- a\n", "x.yaml:1: is not a table of settings"),
    ],
)
def test_what_could_be_misread_is_refused_by_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "x.yaml")
    assert str(caught.value).startswith(message)


def test_a_few_lines_cannot_stand_for_millions_of_values() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="stands for more than 200000 values"):
        parse_yaml("\n".join(lines), "x.yaml")


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    refused = ""
    try:
        parse_yaml(text, "x.yaml")
    except ConfigError as error:
        refused = str(error)
    assert refused == "" or refused.startswith("x.yaml")


def test_settings_are_refused_by_the_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("app: x\nworkers: many\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        load(Settings, YamlFile(path))
    assert str(caught.value).startswith(f"{path}:2: workers: expected")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"a: {'9' * 5000}", "a.yaml:1: a number of 5000 digits is not taken"),
        ('a: 1\nb: "\\ud800"', "a.yaml:2: has half of a surrogate pair"),
        ('a: 1\n"\\ud800": 2', "a.yaml:2: has half of a surrogate pair"),
    ],
)
def test_what_python_can_hold_or_not_is_no_reason_to_fall_over(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse_yaml(text, "a.yaml")
