"""Where each parameter of a stop comes from, and what is refused before anything moves. No engine is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hitless.config import ConfigError, Flags, Loaded, TomlFile, load
from hitless.containers import (
    Container,
    ContainersFile,
    EngineUnreachable,
    InvalidParameters,
    Parameters,
    Step,
    engine_address,
    parameters,
    read_kolla,
)
from hitless.containers.dialect import Dialect, agree
from hitless.containers.errors import EngineError
from hitless.containers.frames import demultiplexed
from hitless.containers.order import reverse_of, stop_order
from hitless.containers.rules import Rule
from hitless.containers.said import flat
from hitless.containers.signals import number, parse_signal
from hitless.containers.spec import creation
from hitless.containers.units import unit_of

DOCKER = Dialect("docker", "20.10", "1.41", True, 10.0)
PODMAN = Dialect("podman", "4.3", "1.41", False, 10.0)


def container(name: str = "glance_api", **config: Any) -> Container:
    host = config.pop("HostConfig", {})
    return Container.from_inspect(
        {
            "Id": f"{name}0123456789abcdef",
            "Name": f"/{name}",
            "Image": "sha256:1",
            "State": {"Status": "running", "Pid": 1},
            "Config": {"Image": "glance:1", "Labels": {}, **config},
            "HostConfig": {"NetworkMode": "none", **host},
        }
    )


def file(folder: Path, text: str) -> Loaded[ContainersFile]:
    path = folder / "containers.toml"
    path.write_text(text)
    path.chmod(0o644)
    folder.chmod(0o755)
    return load(ContainersFile, TomlFile(path))


def given(**flags: str) -> dict[str, Any]:
    return dict(
        flat(load(Rule, Flags({key.replace("__", "."): value for key, value in flags.items()})).settings)
    )


def origins(found: Parameters) -> dict[str, str]:
    return {row.key: row.origin for row in found.rows()}


def test_without_any_word_a_container_has_a_minute_after_term() -> None:
    found = parameters(container(), DOCKER)
    assert found.sequence.steps == (Step("SIGTERM", 60.0),)
    assert found.sequence.at_end == "kill"
    assert set(origins(found).values()) == {"default"}


def test_the_first_source_that_says_something_wins(tmp_path: Path) -> None:
    labels = {"hitless.stop.signal": "HUP", "hitless.stop.wait": "3m", "hitless.stop.at-end": "leave"}
    one = container(Labels=labels, StopSignal="SIGINT", StopTimeout=7)
    assert parameters(container(StopSignal="SIGINT", StopTimeout=7), DOCKER).sequence.steps == (
        Step("SIGINT", 7),
    )
    assert parameters(one, DOCKER).sequence.steps == (Step("SIGHUP", 180),)
    toml = file(tmp_path, '[service."glance_*"]\nsignal = "QUIT"\nwait = "30m"\n')
    assert parameters(one, DOCKER, file=toml).sequence.steps == (Step("SIGQUIT", 1800),)
    found = parameters(one, DOCKER, file=toml, given=given(wait="1h"))
    assert found.sequence.steps == (Step("SIGQUIT", 3600),)
    assert origins(found)["wait"] == "--wait"
    assert origins(found)["signal"].endswith("containers.toml:2")
    assert origins(found)["at_end"] == "label hitless.stop.at_end"


def test_a_section_with_the_very_name_wins_over_globs_and_labels_select_as_well(tmp_path: Path) -> None:
    toml = file(
        tmp_path,
        '[defaults]\nwait = 5\n[service.glance_api]\nwait = 6\n[service."glance_*"]\nwait = 7\nat_end = "leave"\n'
        '[service.databases]\nlabels = { tier = "d*" }\nwait = 8\n',
    )
    assert parameters(container(), DOCKER, file=toml).sequence.steps[0].wait_s == 6
    assert parameters(container(), DOCKER, file=toml).sequence.at_end == "leave"
    assert parameters(container("glance_x"), DOCKER, file=toml).sequence.steps[0].wait_s == 7
    assert parameters(container("nova"), DOCKER, file=toml).sequence.steps[0].wait_s == 5
    assert parameters(container("db", Labels={"tier": "db"}), DOCKER, file=toml).sequence.steps[0].wait_s == 8


def test_signal_and_wait_are_those_of_the_first_step() -> None:
    one = container(Labels={"hitless.stop.steps": "QUIT 5m, TERM 30s"})
    assert parameters(one, DOCKER).sequence.steps == (Step("SIGQUIT", 300), Step("SIGTERM", 30))
    changed = parameters(one, DOCKER, given=given(wait="1m")).sequence
    assert changed.steps == (Step("SIGQUIT", 60), Step("SIGTERM", 30))


def test_podmans_default_timeout_is_not_taken_for_somebodys_wish() -> None:
    one = container(StopSignal="15", StopTimeout=10)
    assert parameters(one, PODMAN).sequence.steps == (Step("SIGTERM", 60.0),)
    assert parameters(container(StopTimeout=11), PODMAN).sequence.steps == (Step("SIGTERM", 11),)


def test_kollas_timeouts_apply_globally_and_per_service(tmp_path: Path) -> None:
    path = tmp_path / "globals.yml"
    path.write_text(
        "docker_graceful_timeout: 90\nnova_conductor_graceful_timeout: 180\nkolla_base_distro: debian\n"
    )
    kolla = read_kolla(path)
    assert parameters(container(), DOCKER, kolla=kolla).sequence.steps[0].wait_s == 90
    assert parameters(container("nova_conductor"), DOCKER, kolla=kolla).sequence.steps[0].wait_s == 180
    assert (
        "nova_conductor_graceful_timeout"
        in origins(parameters(container("nova_conductor"), DOCKER, kolla=kolla))["wait"]
    )
    labelled = container(Labels={"hitless.stop.wait": "1s"})
    assert parameters(labelled, DOCKER, kolla=kolla).sequence.steps[0].wait_s == 1


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"hitless.stop.signal": "SIGNOPE"}, "signal: 'SIGNOPE' is no signal"),
        ({"hitless.stop.wait": "soon"}, "wait: expected seconds"),
        ({"hitless.stop.wat": "5"}, "wat: "),
        ({"hitless.stop.steps": "TERM"}, "steps.0: 'TERM': write a signal and how long to wait"),
        ({"hitless.stop.drain.http": "localhost"}, "drain.http: expected a URL"),
        ({"hitless.stop.accept": "0,999"}, "accept.1: "),
    ],
)
def test_labels_that_make_no_sense_are_refused_with_what_was_expected(
    labels: dict[str, str], says: str
) -> None:
    with pytest.raises(InvalidParameters) as refused:
        parameters(container(Labels=labels), DOCKER)
    assert says in str(refused.value)
    assert "glance_api" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[service.a]\nsignl = "TERM"\n', "containers.toml:2: service.a.signl"),
        ('[service.a]\nwait = "-5s"\n', "containers.toml:2: service.a.wait"),
        ('[service.a]\nat_end = "die"\n', "containers.toml:2: service.a.at_end"),
        ("[service.a]\nsteps = []\n", "containers.toml:2: service.a.steps"),
        ('[service.a.drain]\ninside = ""\n', "containers.toml:2: service.a.drain.inside"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        file(tmp_path, text)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("TERM", "SIGTERM", 15),
        ("15", "SIGTERM", 15),
        ("sigquit", "SIGQUIT", 3),
        ("SIGRTMIN+3", "SIGRTMIN+3", 37),
    ],
)
def test_signals_are_understood_as_engines_and_people_write_them(text: str, name: str, value: int) -> None:
    assert (parse_signal(text), number(parse_signal(text))) == (name, value)


@pytest.mark.parametrize("text", ["", "0", "99", "SIGFOO", "SIG_DFL"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="signal"):
        parse_signal(text)


def test_users_are_stopped_before_what_they_use_and_started_after_it() -> None:
    compose = {"com.docker.compose.project": "p", "com.docker.compose.service": "db"}
    user = {"com.docker.compose.project": "p", "com.docker.compose.service": "web"}
    names = {
        "db": container("db", Labels=compose),
        "web": container("web", Labels={**user, "com.docker.compose.depends_on": "db:service_healthy:false"}),
        "api": container("api"),
    }
    order = stop_order(names, {"db": ("a*", "nobody"), "api": (), "web": ()})
    assert order == {"db": {"api", "web"}, "web": frozenset(), "api": frozenset()}
    assert reverse_of(order) == {"db": frozenset(), "web": {"db"}, "api": {"db"}}
    with pytest.raises(InvalidParameters, match="each to be stopped after another"):
        stop_order(names, {"db": ("api",), "api": ("db",)})


def test_a_version_that_both_understand_is_spoken() -> None:
    assert agree({"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10"}).api == "1.41"
    assert agree({"ApiVersion": "1.60", "MinAPIVersion": "1.44", "Version": "30"}).api == "1.48"
    podman = {"ApiVersion": "1.41", "Components": [{"Name": "Podman Engine", "Version": "5.2.0"}]}
    assert (agree(podman).kind, agree(podman).can_set_policy) == ("podman", True)
    with pytest.raises(EngineError, match="upgrade the older"):
        agree({"ApiVersion": "1.99", "MinAPIVersion": "1.60"})
    with pytest.raises(EngineError, match="upgrade the older"):
        agree({"ApiVersion": "1.30", "MinAPIVersion": "1.12"})


def test_an_engine_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable, match="is it running"):
        engine_address(f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineUnreachable, match="Unix socket"):
        engine_address("tcp://10.0.0.1:2375")
    (tmp_path / "file").touch()
    with pytest.raises(EngineUnreachable, match="is no socket"):
        engine_address(str(tmp_path / "file"))


def test_both_streams_of_a_log_are_put_together() -> None:
    framed = b"\x01\0\0\0\0\0\0\x03out" + b"\x02\0\0\0\0\0\0\x03err"
    assert demultiplexed(framed) == b"outerr"
    assert demultiplexed(b"plain text of a terminal") == b"plain text of a terminal"
    assert demultiplexed(b"") == b""


def test_what_came_from_the_old_image_is_left_to_the_new_one() -> None:
    old = container(
        Env=["PATH=/bin", "COLOUR=blue"], Cmd=["serve"], User="app", Hostname="glance_api01",
        Labels={"image": "label", "team": "x"},
        HostConfig={"Binds": ["/a:/b"], "Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 1, "Hard": 1}]},
    )  # fmt: skip
    image = {"Env": ["PATH=/bin"], "Cmd": ["serve"], "Labels": {"image": "label"}}
    body = creation(old, image="glance:2", image_config=image, policy=old.policy).body
    assert body["Image"] == "glance:2"
    assert body["Env"] == ["COLOUR=blue"]
    assert body["Labels"] == {"team": "x"}
    assert body["User"] == "app"
    assert "Cmd" not in body
    assert "Hostname" not in body, "it was the short id"
    assert body["HostConfig"]["Ulimits"][0]["Name"] == "nofile"
    assert body["HostConfig"]["Binds"] == ["/a:/b"]


def test_a_unit_is_found_with_its_drop_ins(tmp_path: Path) -> None:
    unit = tmp_path / "kolla-glance_api-container.service"
    unit.write_text(
        "[Service]\nExecStart=/usr/bin/docker start -a glance_api\nExecStop=/usr/bin/docker stop glance_api -t 60\n"
    )
    (tmp_path / "other.service").write_text("[Service]\nExecStart=/usr/bin/docker start -a glance_api_2\n")
    found = unit_of(container(), [tmp_path])
    assert found is not None
    assert (found.path.name, found.stop_s, found.engine_s) == (unit.name, 90.0, 60.0)
    drop_in = tmp_path / f"{unit.name}.d"
    drop_in.mkdir()
    (drop_in / "10.conf").write_text("[Service]\nTimeoutStopSec=2min 5s\n")
    again = unit_of(container(), [tmp_path])
    assert again is not None
    assert again.stop_s == 125
    assert unit_of(container("glance"), [tmp_path]) is None
