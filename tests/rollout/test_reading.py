"""What is wrong in rollout.yaml is said with its line, all of it at once, before anything is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitless.config import ConfigError
from hitless.rollout.reading import Rollout, counted, read_rollout

GOOD = """\
service: images
releases:
  "1": {venv: /opt/1}
  "2": {venv: /opt/2, version: 2.0.1}
nodes:
  n1: {address: 127.0.1.1, variables: {unit: images-1}}
  n2: {address: 127.0.1.2, variables: {unit: images-2}}
process:
  kind: systemd
  unit: "{unit}"
  upgrade: "{venv}/bin/upgrade {release}"
health: {url: "http://{address}/health"}
version: {url: "http://{address}/version"}
"""


def read(folder: Path, text: str, **files: str) -> Rollout:
    for name, content in {"rollout": text, **files}.items():
        path = folder / f"{name}.yaml"
        path.write_text(content)
        path.chmod(0o644)
    return read_rollout(folder / "rollout.yaml")


def problems(folder: Path, text: str, **files: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(folder, text, **files)
    return [str(each).removeprefix(f"{folder}/") for each in refused.value.problems]


def test_a_good_description_is_read(tmp_path: Path) -> None:
    rollout = read(tmp_path, GOOD)
    assert rollout.release == "2"
    assert (rollout.version("2"), rollout.release_of("2.0.1"), rollout.version("1")) == ("2.0.1", "2", "1")
    assert rollout.values(rollout.nodes["n1"], "2")["unit"] == "images-1"
    assert (rollout.batch, rollout.min_up) == (1, 1)


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("{venv}/bin", "{venw}/bin", "rollout.yaml:11: process.upgrade: there is no variable venw; there are: service, release"),
        ("{venv: /opt/1}", "{}", "rollout.yaml:11: process.upgrade: release 1 has no variable venv, and others have"),
        ("variables: {unit: images-2}", "", "rollout.yaml:10: process.unit: node n2 has no variable unit, and others have"),
        ("service: images", "service: images\nrelease: '9'", "rollout.yaml:2: release: there is no release 9; there are: 1, 2"),
        ("service: images", "service: images\nrelease: 2", 'rollout.yaml:2: release: expected text, got 2'),
        ("kind: systemd", "kind: sysv", "rollout.yaml:8: process: input tag 'sysv'"),
        ("version: 2.0.1", 'version: "1"', "rollout.yaml:3: releases: nodes of two releases would say 1; set version"),
        ("service: images", "service: images\nmin_up: 2", "rollout.yaml:2: min_up: 2 of 2 nodes cannot stay up"),
        ("service: images", "service: images\nbatch: 120%", "rollout.yaml:2: batch: "),
        ("service: images", "service: images\norder: [n3]", "rollout.yaml:2: order: there is no node n3; there are: n1, n2"),
        ("service: images", "service: images\ncanary: {node: n3}", "rollout.yaml:2: canary.node: there is no node n3"),
        ("service: images", "service: images\nvariables: {node: x}", "rollout.yaml:2: variables.node: is always there"),
        ("service: images", "service: images\nsoack: 3s", "rollout.yaml:2: soack: unknown key; did you mean soak?"),
        ("service: images", "service: images\nsoak: long", 'rollout.yaml:2: soak: expected seconds'),
        ("n2: {address: 127.0.1.2,", "n2: {address: 127.0.1.2, server: n1,", "rollout.yaml:6: nodes: two nodes are the server"),
        ('health: {url: "http://{address}/health"}', "health: {passes: 1}", "rollout.yaml:12: health: expected either"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, wrong: str, right: str, said: str) -> None:
    assert wrong in GOOD
    found = problems(tmp_path, GOOD.replace(wrong, right))
    assert any(each.startswith(said) for each in found), found


NESTED = GOOD.replace(
    "service: images", "service: images\nvariables: {home: '{root}/{node}', root: '/srv/{service}'}"
)


def test_variables_stand_in_the_values_of_variables(tmp_path: Path) -> None:
    text = NESTED.replace("variables: {unit: images-2}", "variables: {unit: 'images@{home}-{release}'}")
    rollout = read(tmp_path, text.replace("version: 2.0.1", "version: '{release}.0.1'"))
    values = rollout.values(rollout.nodes["n2"], "2")
    assert (values["home"], values["unit"]) == ("/srv/images/n2", "images@/srv/images/n2-2")
    assert rollout.values(rollout.nodes["n1"], "2")["home"] == "/srv/images/n1"
    assert (rollout.version("2"), rollout.release_of("2.0.1")) == ("2.0.1", "2")


def test_what_is_given_is_filled_in_nowhere(tmp_path: Path) -> None:
    values = read(tmp_path, NESTED).values_here("2", node="", message="lacks {root} and {{home}}")
    assert values["message"] == "lacks {root} and {{home}}"


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("{root}/{node}", "{rot}/{node}", "rollout.yaml:2: variables.home: there is no variable rot here; there are: address,"),
        ("/srv/{service}", "{home}", "rollout.yaml:2: variables.home: home holds root holds home, which never ends"),
        ("unit: images-2", "unit: 'images-{nod}'", "rollout.yaml:8: nodes.n2.variables.unit: there is no variable nod here"),
        ("/opt/1}", "'{adress}'}", "rollout.yaml:4: releases.1.venv: there is no variable adress here"),
        ("process:", "database: {config: '{home}/db.toml'}\nprocess:",
         "rollout.yaml:9: database.config: the variable home cannot be filled in: there is no variable node here"),
        ("process:", "database: {config: '{node}/db.toml'}\nprocess:", "rollout.yaml:9: database.config: there is no variable"),
        ("process:", "hooks: {before: 'true {address}'}\nprocess:", "rollout.yaml:9: hooks.before: there is no variable address"),
        ("process:", "journal: 'sqlite:///{root}/journal'\nprocess:",
         "rollout.yaml:9: journal: {root} stands for nothing here: no variables are filled in"),
        ("address: 127.0.1.2,", "address: '{node}.example',", "rollout.yaml:8: nodes.n2.address: {node} stands for nothing here"),
    ],
)  # fmt: skip
def test_a_variable_that_would_stay_unfilled_is_refused(
    tmp_path: Path, wrong: str, right: str, said: str
) -> None:
    assert wrong in NESTED
    found = problems(tmp_path, NESTED.replace(wrong, right))
    assert any(each.startswith(said) for each in found), found


def test_inventories_that_do_not_list_the_same_nodes_are_refused(tmp_path: Path) -> None:
    text = GOOD.replace("service: images", "service: images\ninventories: [site.yaml]")
    site = GOOD[GOOD.index("nodes:") : GOOD.index("process:")]
    assert len(read(tmp_path, text, site=site).nodes) == 2
    found = problems(tmp_path, text, site=site.replace("n2:", "n3:"))
    assert len(found) == 2
    assert "does not list n2, which" in found[0]
    assert "does not list n3, which" in found[1]
    assert (
        "is not what nodes says of it"
        in problems(tmp_path, text, site=site.replace("127.0.1.2", "127.0.1.9"))[0]
    )


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    read(tmp_path, GOOD)
    (tmp_path / "rollout.yaml").chmod(0o666)
    with pytest.raises(ConfigError, match="writ"):
        read_rollout(tmp_path / "rollout.yaml")


def test_shares_are_rounded_to_the_safe_side() -> None:
    assert counted("25%", 10) == 2
    assert counted("25%", 10, up=True) == 3
    assert counted(4, 10) == 4
