"""Every key that tomllib finds has the line on which it stands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hitless.config import ConfigError
from hitless.config.keys import KeyPath
from hitless.config.toml import parse_toml


def paths(value: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*above, key)
            yield from paths(item, (*above, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (*above, index)
            yield from paths(item, (*above, index))


DOCUMENT = '''\
# comment with [brackets] and key = 1
name = "web" # workers = 9
a.b.c = 1
"quoted key" = 'x = 1'
"esc\\u0041ped" = 1
site."google.com" = true

[drain]
timeout = "1m"
text = """
fake = 1
[not.a.table]
""\\"""""
raw = \'\'\'
fake = 2\'\'\'\'
after = 1

[ log . "deep er" ]
levels = [
  "a", # "b",
  "c]",
  [1, 2,
   3],
  { x = 1, y.z = [ { w = 2 } ] },
]
when = 1979-05-27 07:32:00
last = 3

[[sources]]
name = "one"
[[sources.parts]]
id = 1
[[sources.parts]]
id = 2
[sources.more]
k = 1

[[sources]]
name = "two"
[[sources.parts]]
id = 3
'''


def line_of(text: str) -> int:
    return DOCUMENT[: DOCUMENT.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), line_of('name = "web"')),
        (("a", "b", "c"), line_of("a.b.c")),
        (("quoted key",), line_of('"quoted key"')),
        (("escAped",), line_of('"esc')),
        (("site", "google.com"), line_of("site.")),
        (("drain",), line_of("[drain]")),
        (("drain", "text"), line_of("text =")),
        (("drain", "raw"), line_of("raw =")),
        (("drain", "after"), line_of("after =")),
        (("log",), line_of("[ log")),
        (("log", "deep er", "levels", 1), line_of('"c]"')),
        (("log", "deep er", "levels", 2, 2), line_of("   3],")),
        (("log", "deep er", "levels", 3, "y", "z", 0, "w"), line_of("{ x = 1")),
        (("log", "deep er", "when"), line_of("when =")),
        (("log", "deep er", "last"), line_of("last =")),
        (("sources", 0, "name"), line_of('name = "one"')),
        (("sources", 0, "parts", 1, "id"), line_of("id = 2")),
        (("sources", 0, "more", "k"), line_of("k = 1\n\n")),
        (("sources", 1), line_of('name = "two"') - 1),
        (("sources", 1, "parts", 0, "id"), line_of("id = 3")),
    ],
)
def test_a_key_stands_where_an_editor_shows_it(path: KeyPath, line: int) -> None:
    assert parse_toml(DOCUMENT, "x").lines[path] == line


def test_every_key_of_a_document_has_a_line() -> None:
    document = parse_toml(DOCUMENT, "x")
    assert document.data == tomllib.loads(DOCUMENT)
    assert set(document.lines) == set(paths(document.data))


def test_windows_line_ends_count_as_one() -> None:
    assert parse_toml(DOCUMENT.replace("\n", "\r\n"), "x").lines == parse_toml(DOCUMENT, "x").lines


def test_a_key_without_a_line_of_its_own_has_that_of_its_table() -> None:
    assert parse_toml(DOCUMENT, "x").line(("drain", "nothing", "here")) == line_of("[drain]")
    assert parse_toml(DOCUMENT, "x").line(("nowhere",)) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = 1\nb = \n", "x:2: is not TOML: invalid value"),
        ("a = 1\na = 2", "x:2: is not TOML: cannot overwrite a value"),
        ("[t]\n[t]\n", "x:2: is not TOML: cannot declare"),
        ('a = """\n\n', "x:2: is not TOML: unterminated string"),
        ("a = 1 b = 2", "x:1: is not TOML: expected newline"),
        ("a = 07", "x:1: is not TOML"),
        ("[[a]]\n[a]\n", "x:2: is not TOML"),
        ("a = {b = 1, b = 2}", "x:1: is not TOML: duplicate inline table key"),
        ("a = " + "[" * 20000, "x: is nested too deeply"),
    ],
)
def test_a_syntax_error_names_its_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_toml(text, "x")
    assert str(caught.value).startswith(problem)


# Generated documents: a writer that chooses among all the ways TOML has to write the same thing.

bare = st.text("abcXYZ019_-", min_size=1, max_size=5)
awkward = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=6)
scalars = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(
        ["true", "false", "1.5", "inf", "1979-05-27", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00", "0o17"]
    ),
    st.sampled_from(
        [
            '"a#b"',
            "'c:\\d'",
            '"\\"]}"',
            '"""x\n  [y]\nz = 1"""',
            "'''\nk = 2\n''''",
            '""',
            "''",
            '"""a""\\""""""',
        ]
    ),
    awkward.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
)


@st.composite
def keys(draw: st.DrawFn) -> str:
    name = draw(st.one_of(bare, awkward))
    if (
        name
        and all(char.isascii() and (char.isalnum() or char in "_-") for char in name)
        and draw(st.booleans())
    ):
        return name
    if "'" not in name and draw(st.booleans()):
        return f"'{name}'"
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


dotted_keys = st.lists(keys(), min_size=1, max_size=3).map(" . ".join)
gaps = st.sampled_from(["", " ", "\n", " # ] } , = [\n", "\n\n  "])


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(st.tuples(gaps, values, gaps), max_size=4)
    return st.builds(
        lambda items, comma, gap: (
            "[" + ",".join(a + v + b for a, v, b in items) + ("," if comma and items else "") + gap + "]"
        ),
        items,
        st.booleans(),
        gaps,
    )


def inline_tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(dotted_keys, values), max_size=3)
    return pairs.map(lambda pairs: "{ " + ", ".join(f"{key} = {value}" for key, value in pairs) + " }")


values = st.recursive(scalars, lambda inner: arrays(inner) | inline_tables(inner), max_leaves=6)
lines = st.one_of(
    st.builds("{} = {}".format, dotted_keys, values),
    st.builds("[ {} ]".format, dotted_keys),
    st.builds("[[{}]]".format, dotted_keys),
    st.sampled_from(["", "# a = 1", "   "]),
)


@settings(max_examples=400)
@given(st.lists(lines, max_size=8), st.sampled_from(["\n", "\r\n"]))
@example(["[[a]]", "[[a.b]]", "[a.b.c]", "d.e = [{f = 1}]"], "\n")
def test_what_tomllib_takes_has_a_line_for_every_key(parts: list[str], newline: str) -> None:
    text = ""
    for part in parts:
        # Lines that do not go together (a table declared twice) are left out, so that most documents are valid.
        try:
            tomllib.loads(text + part + "\n")
        except tomllib.TOMLDecodeError:
            continue
        text += part + "\n"
    text = text.replace("\n", newline)
    document = parse_toml(text, "x")
    rows = text.split("\n")
    assert set(document.lines) == set(paths(document.data))
    for path, line in document.lines.items():
        if isinstance(path[-1], str) and path[-1].isascii() and path[-1].isalnum():
            assert path[-1] in rows[line - 1]


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab=.[]{}\"'#\n\\ ,1-"), max_size=30))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(ConfigError, match=r"^x:\d+: is not TOML"):
            parse_toml(text, "x")
    else:
        assert set(parse_toml(text, "x").lines) == set(paths(data))
