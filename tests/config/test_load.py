from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, model_validator
from tests.config.models import Colour, Drain, Settings, Source

from hitless.config import ConfigError, Environment, Flags, Loaded, TomlFile, load, plain
from hitless.serve.settings import ServeSettings

Write = Callable[[str], Path]


def environment(**variables: str) -> Environment:
    return Environment(environ={f"HITLESS_{name}": text for name, text in variables.items()})


def problems(*sources: Any, model: type[BaseModel] = Settings) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(model, *sources)
    assert str(caught.value).splitlines() == [str(each) for each in caught.value.problems]
    return str(caught.value).splitlines()


def test_a_file_becomes_typed_settings(write: Write) -> None:
    path = write(
        'app = "m:a"\nworkers = 4\nratio = 1\nbind = ["x:1"]\ntags = ["b", "a"]\nsize = "1KiB"\numask = "0027"\n'
        'colour = "green"\nplace = "/srv"\npassword = "p"\neither = "text"\n[env]\nA = "1"\n[drain]\ntimeout = "1m"\n'
        '[[sources]]\nname = "one"\n[[sources]]\nname = "two"\ninterval = 5\n'
    )
    settings = load(Settings, TomlFile(path)).settings
    assert (settings.workers, settings.ratio, settings.bind, settings.size) == (4, 1.0, ("x:1",), 1024)
    assert (settings.tags, settings.umask, settings.colour) == (frozenset("ab"), 0o27, Colour.GREEN)
    assert settings.drain == Drain(timeout=60.0)
    assert settings.sources == (Source(name="one"), Source(name="two", interval=5.0))
    assert settings.password is not None
    assert settings.password.get_secret_value() == "p"


def test_later_sources_win_key_by_key(write: Write) -> None:
    path = write(
        'app = "file"\nworkers = 2\nratio = 0.25\nbind = ["a:1", "b:2"]\n[env]\nA = "file"\nB = "file"\n'
    )
    loaded = load(
        Settings,
        TomlFile(path),
        environment(WORKERS="3", APP="environment", ENV="B=environment,C=environment", BIND="c:3"),
        Flags({"app": "flag", "env": ["C=flag", "D=x=y"], "workers": None}),
    )
    settings = loaded.settings
    assert (settings.app, settings.workers, settings.ratio, settings.bind) == ("flag", 3, 0.25, ("c:3",))
    assert settings.env == {"A": "file", "B": "environment", "C": "flag", "D": "x=y"}
    origins = {key: str(origin) for key, origin in loaded.origins.items()}
    assert origins["app"] == "--app"
    assert origins["workers"] == "HITLESS_WORKERS"
    assert origins["ratio"] == f"{path}:3"
    assert origins["bind"] == "HITLESS_BIND"
    assert (origins["env.A"], origins["env.B"], origins["env.C"]) == (f"{path}:6", "HITLESS_ENV", "--env")
    assert origins["drain.timeout"] == "default"
    assert loaded.origins["workers"].text == "3"
    assert loaded.origins["ratio"].text == "ratio = 0.25"


def test_every_setting_has_an_origin(write: Write) -> None:
    loaded = load(Settings, TomlFile(write('app = "x"\n[[sources]]\nname = "s"\n')))
    assert {"app", "drain.timeout", "sources[0].name", "sources[0].interval", "env", "password"} <= set(
        loaded.origins
    )
    assert str(loaded.origins["sources[0].name"]).endswith(":3")
    assert str(loaded.origins["sources[0].interval"]) == "default"


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("WORKERS", "7", "workers", 7),
        ("RATIO", "1.5", "ratio", 1.5),
        ("RATIO", "2", "ratio", 2.0),
        ("WATCH", "1", "watch", True),
        ("WATCH", "Off", "watch", False),
        ("LEVEL", "debug", "level", "debug"),
        ("COLOUR", "green", "colour", Colour.GREEN),
        ("BIND", "a,b", "bind", ("a", "b")),
        ("BIND", " a , b ", "bind", ("a", "b")),
        ("BIND", '["a,b", "c"]', "bind", ("a,b", "c")),
        ("PORTS", "1,2", "ports", [1, 2]),
        ("PORTS", "[]", "ports", []),
        ("PORTS", "", "ports", []),
        ("TAGS", "b,a", "tags", frozenset("ab")),
        ("ENV", "A=1,B=x=y", "env", {"A": "1", "B": "x=y"}),
        ("ENV", '{A = "1,2"}', "env", {"A": "1,2"}),
        ("LIMITS", "a=1,b=2", "limits", {"a": 1, "b": 2}),
        ("UMASK", "0027", "umask", 0o27),
        ("UMASK", "27", "umask", 0o27),
        ("SIZE", "64KiB", "size", 65536),
        ("SIZE", "64", "size", 64),
        ("DRAIN_TIMEOUT", "1m30s", "drain.timeout", 90.0),
        ("DRAIN_TIMEOUT", "5", "drain.timeout", 5.0),
        ("DRAIN_NOTE", "007", "drain.note", "007"),
        ("DRAIN_NOTE", "true", "drain.note", "true"),
        ("DRAIN_NOTE", "", "drain.note", None),
        ("PLACE", "/srv", "place", Path("/srv")),
        ("EITHER", "text", "either", "text"),
    ],
)
def test_text_is_read_as_the_settings_type_wants(name: str, text: str, key: str, value: object) -> None:
    for source in (environment(**{name: text}), Flags({key: text})):
        found: Any = load(Settings, Flags({"app": "x"}), source).settings
        for part in key.split("."):
            found = getattr(found, part)
        assert found == value


def test_flags_may_have_values_that_are_typed_already() -> None:
    settings = load(Settings, Flags({"app": "x", "workers": 3, "bind": ("a", "b"), "watch": True})).settings
    assert (settings.workers, settings.bind, settings.watch) == (3, ("a", "b"), True)


def test_every_problem_is_told_at_once_in_the_order_of_the_lines(write: Write) -> None:
    path = write(
        'workers = "4"\nbnd = ["x"]\nratio = true\n[drain]\ntimeout = "1m30"\nworkers = 4\n[env]\nA = 1\nMY_TOKEN = 2\n'
        "[[sources]]\nintervall = 3\n"
    )
    assert problems(TomlFile(path)) == [
        f"{path}: app: is required (module:attr)",
        f'{path}:1: workers: expected a whole number, got "4"',
        f"{path}:2: bnd: unknown key; did you mean bind?",
        f"{path}:3: ratio: expected a number, got true",
        f'{path}:5: drain.timeout: expected seconds, as a number or as text such as "20s", "250ms", "1m30s", "2h" or'
        ' "1d", got "1m30"',
        f"{path}:6: drain.workers: unknown key; workers stands at the top of the file, before the first [table]",
        f"{path}:8: env.A: expected text, got 1",
        f"{path}:9: env.MY_TOKEN: expected text, got ***",
        f"{path}:10: sources[0].name: is required",
        f"{path}:11: sources[0].intervall: unknown key; did you mean interval?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workers = 0", ":2: workers: expected at least 1, got 0"),
        ("workers = 9999", ":2: workers: expected at most 512, got 9999"),
        ("workers = 1.5", ":2: workers: expected a whole number, got 1.5"),
        ("workers = true", ":2: workers: expected a whole number, got true"),
        ("watch = 1", ":2: watch: expected true or false, got 1"),
        ("ratio = nan", ":2: ratio"),
        ("bind = []", ":2: bind: expected at least 1 of them, got []"),
        ('bind = "x"', ':2: bind: expected a list, got "x"'),
        ("bind = [\n1]", ":3: bind[0]: expected text, got 1"),
        ("env = 3", ":2: env: expected a table, got 3"),
        ("drain = 3", ":2: drain: expected a table, got 3"),
        ('level = "loud"', ":2: level: expected 'info' or 'debug', got \"loud\""),
        ('colour = "blue"', ":2: colour: expected 'red' or 'green', got \"blue\""),
        ("umask = 27", ':2: umask: expected a file mode as octal text such as "0027" or "0o27", got 27'),
        ("either = []", ":2: either: expected a whole number, got []; or expected text, got []"),
        ("password = 5", ":2: password: expected text, got ***"),
        ("note = 3", ":2: note: unknown key; did you mean drain.note?"),
        ('app2 = "' + "x" * 100 + '"', ":2: app2: unknown key; did you mean app?"),
        ("zzz = 1", ":2: zzz: unknown key"),
        ("place = " + '"' + "x\\u0000" + '"', None),
        ("sources = [1]", ":2: sources[0]: expected a table, got 1"),
        ("drain.timeout = -1", ":2: drain.timeout: expected at least 0, got -1"),
    ],
)
def test_a_wrong_value_is_refused_with_place_key_and_expectation(
    write: Write, text: str, problem: str | None
) -> None:
    path = write(f'app = "x"\n{text}\n')
    if problem is None:
        load(Settings, TomlFile(path))
        return
    found = problems(TomlFile(path))
    assert len(found) == 1
    assert found[0].startswith(f"{path}{problem}")


def test_long_values_are_cut_in_messages(write: Write) -> None:
    (found,) = problems(TomlFile(write(f'app = "x"\nworkers = "{"y" * 5000}"\n')))
    assert len(found) < 300


def test_an_unknown_environment_variable_with_the_prefix_is_named() -> None:
    assert problems(Flags({"app": "x"}), environment(WORKRES="3", TYPO="1")) == [
        "HITLESS_TYPO: unknown environment variable",
        "HITLESS_WORKRES: unknown environment variable; did you mean HITLESS_WORKERS?",
    ]


def test_variables_of_others_and_reserved_ones_are_left_alone() -> None:
    environ = {
        "HITLESS": "1",
        "HITLESSX_Y": "1",
        "PATH": "/bin",
        "HITLESS_RUN_DIR": "/x",
        "HITLESS_OTHER": "1",
    }
    reserved = ("HITLESS_RUN_DIR", "HITLESS_OTHER")
    assert (
        load(Settings, Flags({"app": "x"}), Environment(environ=environ, reserved=reserved)).settings.app
        == "x"
    )


def test_another_prefix_reads_other_variables() -> None:
    environ = {"MY_APP": "mine", "HITLESS_TYPO": "1"}
    assert load(Settings, Environment("MY", environ)).settings.app == "mine"


def test_problems_of_all_sources_are_told_together(write: Write) -> None:
    path = write("a = \n")
    found = problems(TomlFile(path), environment(TYPO="1"), Flags({"no.such": 1}))
    assert [line.split(":")[0] for line in found] == [str(path), "HITLESS_TYPO", "--no-such"]


def test_a_wrong_value_in_environment_or_flag_names_it(write: Write) -> None:
    path = write('app = "x"\nworkers = 2\n')
    assert problems(TomlFile(path), environment(WORKERS="many", BIND="", LIMITS="a=x")) == [
        "HITLESS_BIND: bind: expected at least 1 of them, got []",
        'HITLESS_LIMITS: limits.a: expected a whole number, got "x"',
        'HITLESS_WORKERS: workers: expected a whole number, got "many"',
    ]
    assert problems(TomlFile(path), Flags({"drain.timeout": "soon", "env": ["A"]})) == [
        '--drain-timeout: drain.timeout: expected seconds, as a number or as text such as "20s", "250ms", "1m30s",'
        ' "2h" or "1d", got "soon"',
        '--env: env: expected a table, got "A"',
    ]


def test_a_missing_key_without_a_file_says_what_it_is() -> None:
    assert problems(environment(WORKERS="2")) == ["app: is required (module:attr)"]


def test_the_hash_is_that_of_the_settings_not_of_the_text(write: Write) -> None:
    def loaded(text: str) -> Loaded[Settings]:
        return load(Settings, TomlFile(write(text)))

    one = loaded('app = "x"\n[drain]\ntimeout = "1m"\n')
    same = loaded('# other text\napp = "x"\ndrain.timeout = 60\nworkers = 1\n')
    other = loaded('app = "x"\ndrain.timeout = 61\n')
    assert one.hash == same.hash != other.hash
    assert len({one.content_hash, same.content_hash, other.content_hash}) == 3


def test_a_changed_secret_changes_the_hash() -> None:
    hashes = {load(Settings, Flags({"app": "x", "password": text})).hash for text in ("one", "two", "one")}
    assert len(hashes) == 2


def test_stored_settings_load_again_as_the_same(write: Write) -> None:
    text = 'app = "x"\numask = "0027"\npassword = "hush"\ntags = ["c", "a", "b"]\nplace = "/srv"\n[env]\nA = "1"\n'
    first = load(Settings, TomlFile(write(text)))
    stored = plain(first.settings)
    assert stored["password"] == "hush"
    assert stored["tags"] == ["a", "b", "c"]
    again = Settings.model_validate_json(__import__("json").dumps(stored), strict=True)
    assert again == first.settings


def test_no_two_settings_of_a_service_share_a_variable() -> None:
    from hitless.config.schema import settings_of

    names = ["_".join(path).upper() for path in settings_of(ServeSettings)]
    assert len(names) == len(set(names))


class Pair(BaseModel):
    certificate: str | None = None
    key: str | None = None

    @model_validator(mode="after")
    def both_or_none(self) -> Pair:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class WithRules(BaseModel):
    tls: Pair = Pair()
    password: str = ""

    @model_validator(mode="after")
    def no_hush(self) -> WithRules:
        if self.password == "hush":
            raise ValueError("the password is too well known")
        return self


def test_a_rule_over_a_table_is_told_at_the_table_without_its_values(write: Write) -> None:
    path = write('password = "x"\n[tls]\nkey = "secret"\n')
    assert problems(TomlFile(path), model=WithRules) == [
        f"{path}:2: tls: certificate and key belong together"
    ]
    path = write('password = "hush"\n')
    assert problems(TomlFile(path), model=WithRules) == [f"{path}: the password is too well known"]


def test_what_json_cannot_hold_is_refused_in_words(write: Write) -> None:
    path = write(f'app = "x"\nratio = inf\nworkers = 0x{"f" * 5000}\nports = [{2**64}]\n')
    assert problems(TomlFile(path)) == [
        f"{path}:2: ratio: expected a finite number, got inf",
        f"{path}:3: workers: expected a number of at most 63 bits",
        f"{path}:4: ports[0]: expected a number of at most 63 bits",
    ]
    path = write(f"workers = {'9' * 5000}\n")
    assert problems(TomlFile(path))[0].startswith(f"{path}: is not TOML")
    assert problems(environment(APP="\udcff", ENV="\udcfe=1")) == [
        "HITLESS_APP: app: expected UTF-8",
        "HITLESS_ENV: env.\udcfe: expected UTF-8",
    ]


def test_a_table_where_text_should_be_is_not_shown(write: Write) -> None:
    path = write('app = "x"\nlevel = { TOKEN = "hush" }\n')
    assert problems(TomlFile(path)) == [f"{path}:2: level: expected 'info' or 'debug', got a table"]


def test_dates_are_text(write: Write) -> None:
    assert load(Settings, TomlFile(write('app = "x"\n[env]\nDAY = 2026-01-02\n'))).settings.env == {
        "DAY": "2026-01-02"
    }


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 20000, "1\nworkers = 2", "# 1", "", " "])
def test_text_that_is_no_number_is_refused_whatever_it_is(text: str) -> None:
    (problem,) = problems(Flags({"app": "x"}), environment(WORKERS=text))
    assert problem.startswith("HITLESS_WORKERS: workers: expected a whole number, got ")


class Chap(BaseModel):
    kind: Literal["chap"]
    secret_word: SecretStr


class Open(BaseModel):
    kind: Literal["open"]
    port: int


class Deep(BaseModel):
    backends: dict[str, Annotated[Chap | Open, Field(discriminator="kind")]] = {}
    either: SecretStr | int = 0
    pairs: tuple[SecretStr, int] = (SecretStr(""), 0)
    lists: dict[str, list[SecretStr]] = {}
    url: str = Field("", pattern="^$")


@pytest.mark.parametrize(
    "text",
    [
        '[backends.b]\nkind = "chap"\nsecret_word = ["hush"]\n',
        "either = [1.5]\n",
        'pairs = [["hush"], 1]\n',
        '[lists]\na = [["hush"]]\n',
        'url = "mysql://u:hush@host/x"\n',
        'url = "rabbit://u:hush@one,v:hush@two/x"\n',
    ],
)
def test_no_complaint_shows_a_secret_however_deep_it_is(write: Write, text: str) -> None:
    (problem, *_) = said = problems(TomlFile(write(text)), model=Deep)
    assert "hush" not in str(said)
    assert "***" in problem


def test_what_a_rollout_tells_commands_on_nodes_is_no_setting() -> None:
    environ = {"HITLESS_NODE": "n1", "HITLESS_ADDRESS": "127.0.0.1"}
    assert load(Settings, Flags({"app": "x"}), Environment(environ=environ)).settings.app == "x"
