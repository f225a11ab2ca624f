from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.config.models import Settings

from hitless.change import Difference
from hitless.config import Flags, diff, explain, is_secret_name, load, plain, shown


def settings(**values: Any) -> Settings:
    return Settings.model_validate_json(json.dumps({"app": "x", **values}), strict=True)


def test_equal_settings_do_not_differ() -> None:
    assert diff(settings(workers=2), settings(workers=2)) == ()


def test_differences_are_told_by_dotted_key_in_the_order_of_the_model() -> None:
    old = settings(workers=2, drain={"timeout": 5}, env={"A": "1", "B": "2"}, sources=[{"name": "s"}])
    new = settings(
        drain={"timeout": 6}, env={"B": "3", "C": "4"}, bind=["y"], sources=[{"name": "t"}, {"name": "u"}]
    )
    assert diff(old, new) == (
        Difference("workers", 2, 1),
        Difference("bind", ["a:1"], ["y"]),
        Difference("env.B", "2", "3"),
        Difference("env.C", None, "4"),
        Difference("drain.timeout", 5.0, 6.0),
        Difference("sources[0].name", "s", "t"),
        Difference("sources[1].name", None, "u"),
        Difference("sources[1].interval", None, 10.0),
        Difference("env.A", "1", None),
    )


def test_an_emptied_table_tells_what_went() -> None:
    assert diff(settings(env={"A": "1"}), settings()) == (Difference("env.A", "1", None),)
    assert diff(settings(sources=[{"name": "s"}]), settings())[0] == Difference("sources[0].name", "s", None)


def test_a_secret_is_never_shown_but_its_change_is() -> None:
    old = settings(password="one", env={"DB_PASSWORD": "one", "URL": "pg://u:one@h/d"})
    new = settings(password="two", env={"DB_PASSWORD": "two", "URL": "pg://u:two@h/d"})
    found = diff(old, new)
    assert {each.key for each in found} == {"env.DB_PASSWORD", "env.URL", "password"}
    assert all((each.old, each.new) == ("***", "***") for each in found)
    assert "one" not in str(found)
    assert [str(each) for each in found if each.key == "password"] == ["password: changed"]
    assert diff(settings(), settings(password="two")) == (Difference("password", None, "***"),)


def test_names_of_secrets_are_recognised() -> None:
    for name in (
        "DB_PASSWORD",
        "API_KEY",
        "SECRET_KEY_BASE",
        "github_token",
        "PGPASS",
        "MY_PASS",
        "aws_credentials",
    ):
        assert is_secret_name(name), name
    for name in ("PATH", "LANG", "DATABASE_URL", "COMPASS_DIR", "WORKERS"):
        assert not is_secret_name(name), name


def test_passwords_in_urls_are_masked() -> None:
    assert shown("amqp://user:pw@host/x and redis://:pw@h") == "amqp://user:***@host/x and redis://:***@h"
    assert shown(["pg://u:p@h"]) == ["pg://u:***@h"]
    assert (
        shown("http://host/x?token=t&level=1&api_key=k#f") == "http://host/x?token=***&level=1&api_key=***#f"
    )
    assert shown("https://host/x?clientkey=/etc/key.pem") == "https://host/x?clientkey=/etc/key.pem"
    assert shown("a[?key=image_id].value") == "a[?key=image_id].value"
    assert shown("http://host:80/a@b") == "http://host:80/a@b"


def test_explain_has_a_row_for_every_setting_and_no_secret() -> None:
    loaded = load(
        Settings, Flags({"app": "x", "password": "hush", "env": ["TOKEN=hush", "A=1"], "workers": "3"})
    )
    rows = {row.key: (row.value, row.origin) for row in explain(loaded)}
    assert rows["workers"] == ("3", "--workers")
    assert rows["password"] == ('"***"', "--password")
    assert rows["env.TOKEN"] == ('"***"', "--env")
    assert rows["env.A"] == ('"1"', "--env")
    assert rows["drain.timeout"] == ("30.0", "default")
    assert rows["sources"] == ("[]", "default")
    assert "hush" not in str(rows)


values = st.fixed_dictionaries(
    {},
    optional={
        "workers": st.integers(1, 5),
        "env": st.dictionaries(st.sampled_from(["A", "B", "A.B"]), st.sampled_from(["1", "2"])),
        "sources": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["s", "t"])}), max_size=2),
        "drain": st.fixed_dictionaries({"timeout": st.integers(0, 2)}),
        "password": st.sampled_from(["p", "q"]),
    },
)


@given(values, values)
def test_settings_differ_if_and_only_if_a_difference_is_told(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    old, new = settings(**left), settings(**right)
    assert (diff(old, new) == ()) == (plain(old) == plain(new))
    assert {each.key for each in diff(old, new)} == {each.key for each in diff(new, old)}
