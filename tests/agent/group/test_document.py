"""A group's configuration is what it is called, or it is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitless.agent.group.document import Document
from hitless.agent.notifications.settings import Notifications
from hitless.agent.plugins import Plugins
from hitless.change import Refused

ONE = Document((("polling.yaml", "sources: []\n"),))
OTHER = Document((("polling.yaml", "sources: [] # edited in its place\n"),))


def test_what_is_kept_comes_back() -> None:
    assert Document.kept(ONE.text, ONE.hash) == ONE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (OTHER.text, "was changed there"),
        (ONE.text.replace("sources", "s\ufffdurces"), "was changed there"),
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_what_was_changed_in_the_store_is_refused(text: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        Document.kept(text, ONE.hash)


def test_a_member_that_cannot_write_it_refuses_it(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(Refused, match="cannot be written"):
        ONE.running(tmp_path / "state", Plugins(), Notifications())
