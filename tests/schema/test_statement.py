"""What a statement does, read from its text."""

from __future__ import annotations

import pytest

from hitless.schema.statement import read_statement, split_statements

READ = [
    ("ALTER TABLE images ADD COLUMN a INTEGER", [("add_column", "images", "a")]),
    ("ALTER TABLE `my images` ADD `b c` INT, DROP COLUMN d",
     [("add_column", "my images", "b c"), ("drop_column", "my images", "d")]),
    ('ALTER TABLE ONLY "public"."images" DROP COLUMN IF EXISTS "x"', [("drop_column", "images", "x")]),
    ("ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a, b) REFERENCES u (a, b)", [("add_constraint", "t", "c")]),
    ("ALTER TABLE t DROP FOREIGN KEY c", [("drop_constraint", "t", "c")]),
    ("ALTER TABLE t DROP INDEX i", [("drop", "t", "i")]),
    ("ALTER TABLE t ADD INDEX i (a)", [("create", "t", "i")]),
    ("ALTER TABLE t ADD UNIQUE (a)", [("add_constraint", "t", "")]),
    ("ALTER TABLE t CHANGE a b INT", [("rename_column", "t", "a")]),
    ("ALTER TABLE t CHANGE a a INT NOT NULL", [("change_column", "t", "a")]),
    ("ALTER TABLE t MODIFY a TEXT", [("change_column", "t", "a")]),
    ("ALTER TABLE t RENAME COLUMN a TO b", [("rename_column", "t", "a")]),
    ("ALTER TABLE t RENAME TO u", [("rename_table", "t", "t")]),
    ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", [("set_not_null", "t", "a")]),
    ("ALTER TABLE t ALTER COLUMN a TYPE TEXT", [("change_type", "t", "a")]),
    ("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)", [("create", "t", "i")]),
    ("CREATE TABLE IF NOT EXISTS t (drop_me INT)", [("create", "t", "t")]),
    ("CREATE OR REPLACE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 'DROP TABLE t'", [("create", "t", "r")]),
    ("DROP TRIGGER IF EXISTS r", [("drop", "", "r")]),
    ("UPDATE t SET a = 1", [("update", "t", "")]),
    ("DELETE FROM t", [("delete", "t", "")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), READ)
def test_actions_are_read(text: str, expected: list[tuple[str, str, str]]) -> None:
    found = [(action.verb, action.table, action.name) for action in read_statement(text).actions]
    assert found == expected


@pytest.mark.parametrize("text", ["", ";", "ALTER", "ALTER TABLE", "ALTER TABLE t", "CREATE", "DROP TABLE", "ALTER TABLE t ADD",
                                  "ALTER TABLE t RENAME", "ALTER TABLE t DROP", "UPDATE", "RENAME TABLE", "GRANT ALL"])  # fmt: skip
def test_half_a_statement_is_read_without_harm(text: str) -> None:
    read_statement(text)


def test_a_script_is_split_where_its_statements_end() -> None:
    trigger = "CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET x = case when 1 then ';' else 2 end; END"
    function = "CREATE FUNCTION f() RETURNS trigger AS $x$ BEGIN a; b; END $x$"
    script = f"BEGIN;\nSELECT ';';\n{trigger};\n{function};\nCOMMIT;"
    assert list(split_statements(script)) == ["BEGIN", "SELECT ';'", trigger, function, "COMMIT"]
