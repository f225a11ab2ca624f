"""A comparison names what a change would start, replace, leave alone and stop; nothing else counts as a difference."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.test_formats import LIBERTY, PIPELINE, POLLING, written

from hitless.agent.comparison import Comparison, Move, compare
from hitless.agent.definition import Definition, PollingSource, Route, Sink
from hitless.agent.reading import read


def definition(folder: Path, polling: str = POLLING, pipeline: str = PIPELINE) -> Definition:
    written(folder, polling)
    written(folder, pipeline, "pipeline.yaml")
    return read([folder]).definition


def moves(comparison: Comparison) -> dict[str, str]:
    return {f"{row.kind} {row.name}": row.move.value for row in comparison.rows}


def test_the_same_in_other_words_changes_nothing(tmp_path: Path) -> None:
    before = definition(tmp_path)
    after = definition(
        tmp_path, "# told\n" + POLLING.replace("[cpu]", "\n      - 'cpu'"), PIPELINE + "    buffer: 10000\n"
    )
    comparison = compare(before, after)
    assert comparison.changes_nothing
    assert comparison.lines() == ("nothing to change; all 4 stay as they are",)


def test_each_move_is_named_with_what_differs(tmp_path: Path) -> None:
    before = definition(tmp_path)
    polling = POLLING.replace("interval: 60", "interval: 30") + "  - {name: more, interval: 5, meters: [x]}\n"
    after = definition(tmp_path, polling, PIPELINE.replace("/tmp/samples", "/tmp/other"))
    comparison = compare(before, after)
    assert moves(comparison) == {
        "polling source some": "changed",
        "polling source more": "added",
        "pipeline source all": "kept",
        "sink archive": "changed",
        "publisher file:///tmp/other": "added",
        "publisher file:///tmp/samples": "removed",
    }
    assert "    interval: 60 → 30" in comparison.lines()
    assert comparison.lines()[-1] == "1 stay as they are"


def test_a_publisher_stays_while_any_sink_uses_it(tmp_path: Path) -> None:
    before = read([written(tmp_path, LIBERTY, "pipeline.yaml")]).definition
    text = LIBERTY.replace("notifier://?policy=drop", "notifier://")
    after = read([written(tmp_path, text, "pipeline.yaml")]).definition
    found = moves(compare(before, after))
    assert found["publisher notifier://"] == "kept"
    assert found["publisher notifier://?policy=drop"] == "removed"


def test_passwords_are_shown_nowhere(tmp_path: Path) -> None:
    before = definition(tmp_path, pipeline=PIPELINE.replace("file:///tmp/samples", "amqp://me:hunter2@h/"))
    after = definition(tmp_path, pipeline=PIPELINE.replace("file:///tmp/samples", "amqp://me:hunter3@h/"))
    comparison = compare(before, after)
    assert not comparison.changes_nothing
    assert "hunter" not in f"{comparison.lines()} {comparison.to_json()}"


NAMES = st.sampled_from(["a", "b", "c"])
DEFINITIONS = st.builds(
    Definition,
    polling=st.dictionaries(
        NAMES, st.builds(PollingSource, interval=st.sampled_from([1, 2]), meters=st.just(("x",)))
    ),
    samples=st.dictionaries(NAMES, st.builds(Route, names=st.just(("*",)), sinks=st.just(("a",)))),
    sinks=st.dictionaries(
        NAMES,
        st.builds(Sink, publishers=st.lists(st.sampled_from(["l://1", "l://2"]), min_size=1).map(tuple)),
    ),
)


@given(old=DEFINITIONS, new=DEFINITIONS)
@settings(max_examples=200, deadline=None)
def test_there_and_back_are_mirrors(old: Definition, new: Definition) -> None:
    mirrored = {Move.ADDED: Move.REMOVED, Move.REMOVED: Move.ADDED}
    there = {(row.kind, row.name): row.move for row in compare(old, new).rows}
    back = {(row.kind, row.name): mirrored.get(row.move, row.move) for row in compare(new, old).rows}
    assert there == back
    assert compare(old, new).changes_nothing == (old == new)
