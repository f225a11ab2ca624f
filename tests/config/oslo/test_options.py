"""Option definitions of oslo.config as settings: their types, names, references and sections, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg, types

from hitless.config import ConfigError, TomlFile, diff, explain, load
from hitless.config.oslo import Backends, OsloOptions, OsloOptionsError

DEFAULT = [
    cfg.BoolOpt("debug", default=False, mutable=True, help="Say more."),
    cfg.IntOpt("workers", default=4, min=1, max=64),
    cfg.StrOpt("level", default="info", choices=["info", "debug"]),
    cfg.StrOpt("state_path", default="/var/lib/$project"),
    cfg.StrOpt("project", default="volumes"),
    cfg.ListOpt("hosts", default=["${project}.example"]),
    cfg.DictOpt("zones", default={}),
    cfg.MultiStrOpt("plugin", default=[]),
    cfg.PortOpt("port", default=8776),
    cfg.FloatOpt("ratio"),
    cfg.ListOpt("ports", item_type=types.Port(), default=[]),
    cfg.IPOpt("my-ip"),
    cfg.URIOpt("endpoint", schemes=["https"]),
    cfg.StrOpt("transport_url", secret=True),
    cfg.MultiOpt("tokens", item_type=types.String(), secret=True),
    cfg.Opt("window", type=types.Range(min=0, max=99)),
    cfg.ListOpt("enabled_backends"),
]
DATABASE = [
    cfg.StrOpt(
        "connection",
        secret=True,
        deprecated_opts=[cfg.DeprecatedOpt("sql_connection", group="DEFAULT")],
    ),
    cfg.IntOpt("pool_size", default=5, deprecated_name="max-pool"),
    cfg.StrOpt("folder", default="$state_path/db"),
]
BACKEND = [
    cfg.StrOpt("driver", default="lvm"),
    cfg.IntOpt("size", default=10, min=1),
    cfg.StrOpt("folder", default="$state_path/$driver"),
    cfg.StrOpt("pin", secret=True),
]
AUTH = [cfg.StrOpt("url", required=True), cfg.StrOpt("region")]


def options(**said: Any) -> OsloOptions:
    listed = [
        (None, DEFAULT),
        (cfg.OptGroup("database"), DATABASE),
        ("backend_defaults", BACKEND),
        ("keystone.auth-token", AUTH),
    ]
    return OsloOptions.of(listed, backends=Backends("backend_defaults"), **said)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "volumes.conf"
    path.touch(mode=0o600)
    return path


def settings(conf: Path, text: str, **said: Any) -> Any:
    conf.write_text(text)
    return load(options(**said).model(), options(**said).file(conf)).settings


def refused(conf: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(conf, text)
    return str(caught.value).replace(f"{conf}:", "")


def test_values_have_the_types_that_the_options_declare(conf: Path) -> None:
    found = settings(
        conf,
        """[DEFAULT]
debug = Yes
workers = 8
hosts = a, b,
    c
zones = north:1, south:2
plugin = one
plugin = two
ports = 80, 443
my_ip = ::1
endpoint = https://h/
window = 3-7
ratio = 1.5
tokens = first
tokens = second
transport_url = rabbit://u:p@h/
""",
    )
    assert (found.debug, found.workers, found.ratio, found.ports) == (True, 8, 1.5, [80, 443])
    assert (found.hosts, found.zones, found.plugin) == (
        ["a", "b", "c"],
        {"north": "1", "south": "2"},
        ["one", "two"],
    )
    assert (found.my_ip, found.endpoint, found.window) == ("::1", "https://h/", "3-7")
    assert found.transport_url.get_secret_value() == "rabbit://u:p@h/"
    assert [each.get_secret_value() for each in found.tokens] == ["first", "second"]
    with pytest.raises(ValueError, match="frozen"):
        found.workers = 9


def test_defaults_are_theirs_and_references_in_them_follow_the_file(conf: Path) -> None:
    found = settings(conf, "[DEFAULT]\nproject = shares\n")
    assert (found.state_path, found.hosts) == ("/var/lib/shares", ["shares.example"])
    assert found.database.folder == "/var/lib/shares/db"
    assert (found.workers, found.my_ip, found.plugin) == (4, None, [])


def test_the_last_of_several_files_counts_and_a_multi_option_has_the_values_of_all(
    conf: Path, tmp_path: Path
) -> None:
    conf.write_text("[DEFAULT]\nworkers = 2\nplugin = one\n")
    more = tmp_path / "volumes.conf.d"
    more.mkdir(mode=0o755)
    (more / "10.conf").write_text("[default]\nworkers = 3\nplugin = two\n")
    (more / "10.conf").chmod(0o600)
    source = options().file(conf, directory=more)
    found: Any = load(options().model(), source).settings
    assert (found.workers, found.plugin) == (3, ["one", "two"])
    assert source.files() == [conf, more / "10.conf"]


def test_old_names_are_taken_with_a_warning_and_new_ones_count_more(
    conf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = "[DEFAULT]\nsql_connection = mysql://old\n[DATABASE]\nmax_pool = 7\n"
    found = settings(conf, old)
    assert found.database.connection.get_secret_value() == "mysql://old"
    assert found.database.pool_size == 7
    assert f"{conf}:2: sql_connection is deprecated; write connection in [database]" in caplog.text
    found = settings(conf, old + "connection = mysql://new\n")
    assert found.database.connection.get_secret_value() == "mysql://new"


def test_sections_that_are_named_are_backends_and_share_what_they_do_not_say(conf: Path) -> None:
    found = settings(
        conf,
        """[DEFAULT]
enabled_backends = LVM-1, nfs-1
[backend_defaults]
size = 20
[lvm-1]
pin = 1234
[nfs-1]
driver = nfs
size = 5
[off-1]
driver = rbd
""",
    )
    assert list(found.backends) == ["LVM-1", "nfs-1"]
    assert (found.backends["LVM-1"].size, found.backends["nfs-1"].size) == (20, 5)
    assert found.backends["nfs-1"].folder == "/var/lib/volumes/nfs"
    assert found.backends["LVM-1"].pin.get_secret_value() == "1234"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workers = many", '2: workers: expected a whole number of at least 1 and at most 64, got "many"'),
        ("workers = 65", '2: workers: expected a whole number of at least 1 and at most 64, got "65"'),
        ("workers =", '2: workers: expected a whole number of at least 1 and at most 64, got ""'),
        ("debug = maybe", '2: debug: expected true or false, got "maybe"'),
        ("level = loud", "2: level: expected one of 'info', 'debug', got \"loud\""),
        ("ports = 80, 99999", '2: ports: should be less than or equal to 65535, got "80, 99999"'),
        ("endpoint = http://h", "2: endpoint: "),
        ("wokers = 3", "2: wokers: unknown option; did you mean workers?"),
        ("[databse]\nx = 1", "2: [databse]: unknown section; did you mean database?"),
        ("[other]\nx = 1", "2: [other]: unknown section; say ignore= if another program reads it"),
        ("state_path = $nowhere/a", "2: state_path: $nowhere stands for nothing; there is no such option"),
        ("project = $state_path", "2: project: its $ references go in a circle"),
        ("enabled_backends = lvm", "2: enabled_backends: there is no section [lvm]"),
        ("enabled_backends = lvm\n[lvm]\nsise = 1", "4: lvm.sise: unknown option; did you mean size?"),
        (
            "enabled_backends = lvm\n[lvm]\nsize = 0",
            "4: backends.lvm.size: expected a whole number of at least 1",
        ),
        ("[keystone.auth-token]\nregion = x", "2: keystone_auth_token.url: is required"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(conf: Path, text: str, problem: str) -> None:
    assert problem in refused(conf, f"[DEFAULT]\n{text}\n")


def test_every_problem_is_told_at_once(conf: Path) -> None:
    assert (
        len(refused(conf, "[DEFAULT]\nwokers = 3\nstate_path = $nowhere\n[other]\nx = 1\n").splitlines()) == 3
    )


def test_a_section_with_something_required_is_none_until_it_is_there(conf: Path) -> None:
    assert settings(conf, "[DEFAULT]\n").keystone_auth_token is None
    found = settings(conf, "[keystone.auth-token]\nurl = https://h\n")
    assert found.keystone_auth_token.url == "https://h"


def test_secrets_are_in_no_message_no_difference_and_no_explanation(conf: Path) -> None:
    one = "[DEFAULT]\ntransport_url = correct-horse\ntokens = correct-horse\nenabled_backends = a\n[a]\npin = correct-horse\n"
    before = settings(conf, one)
    loaded = load(options().model(), options().file(conf))
    assert "correct-horse" not in str(explain(loaded)) + str(before)
    after = settings(conf, one.replace("correct-horse", "battery-staple"))
    assert [str(each) for each in diff(before, after)] == [
        "transport_url: changed",
        "tokens: changed",
        "backends.a.pin: changed",
    ]


def test_a_bad_secret_is_not_shown(conf: Path) -> None:
    listed = [(None, [cfg.Opt("code", type=types.Integer(min=1000), secret=True)])]
    conf.write_text("[DEFAULT]\ncode = 13\n")
    hidden = OsloOptions.of(listed)
    with pytest.raises(ConfigError, match="code: expected a whole number of at least 1000, got \\*\\*\\*"):
        load(hidden.model(), hidden.file(conf))


def test_what_is_live_is_what_the_options_say_unless_somebody_says_otherwise() -> None:
    def marks(**said: Any) -> dict[str, Any]:
        model = options(**said).model()
        database: Any = model.model_fields["database"].annotation
        fields = {"debug": model.model_fields["debug"], "workers": model.model_fields["workers"]}
        fields |= {"pool_size": database.model_fields["pool_size"], "folder": database.model_fields["folder"]}
        return {name: info.json_schema_extra["reload"] for name, info in fields.items()}

    assert marks() == {"debug": "live", "workers": "restart", "pool_size": "restart", "folder": "restart"}
    assert marks(live=["workers", "database"], restart=["debug", "database.folder"]) == {
        "debug": "restart",
        "workers": "live",
        "pool_size": "live",
        "folder": "restart",
    }


def test_sections_that_are_ignored_may_hold_anything(conf: Path) -> None:
    assert settings(conf, "[other]\nx = 1\n", ignore=["Other"]).workers == 4


def test_other_sources_may_hold_values_that_are_no_text(conf: Path, tmp_path: Path) -> None:
    toml = tmp_path / "more.toml"
    toml.write_text("workers = 3\nports = [80]\ndebug = true\nratio = 2\n[database]\npool_size = '6'\n")
    toml.chmod(0o600)
    conf.write_text("[DEFAULT]\nworkers = 2\n")
    found: Any = load(options().model(), options().file(conf), TomlFile(toml)).settings
    assert (found.workers, found.ports, found.debug, found.ratio) == (3, [80], True, 2.0)
    assert found.database.pool_size == 6
    toml.write_text("workers = 3.5\ndebug = 1\nlevel = 3\n")
    with pytest.raises(ConfigError) as caught:
        load(options().model(), options().file(conf), TomlFile(toml))
    assert [str(each).partition("toml:")[2] for each in caught.value.problems] == [
        "1: workers: expected a whole number of at least 1 and at most 64, got 3.5",
        "2: debug: expected true or false, got 1",
        "3: level: expected one of 'info', 'debug', got 3",
    ]


def test_options_come_from_the_entry_points_that_the_sample_generator_reads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    found = OsloOptions.of_namespaces("oslo.config")
    assert "config_source" in found.sections["DEFAULT"]
    with pytest.raises(OsloOptionsError, match=r"lists options as oslo\.confg; did you mean oslo\.config\?"):
        OsloOptions.of_namespaces("oslo.confg")
    with pytest.raises(OsloOptionsError, match="is its package installed here"):
        OsloOptions.of_namespaces("zzz")


def test_two_settings_of_one_name_are_refused() -> None:
    with pytest.raises(OsloOptionsError, match="two options or sections are called database"):
        OsloOptions.of([(None, [cfg.StrOpt("database")]), ("database", DATABASE)])
    with pytest.raises(OsloOptionsError, match=r"there is no section \[lvm\]"):
        OsloOptions.of([(None, DEFAULT)], backends=Backends("lvm"))
