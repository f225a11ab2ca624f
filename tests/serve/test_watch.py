"""A service that watches its configuration file reloads by itself, once for each new and complete content."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve.clients import fetch, place, reload, state, tell, write_teller
from serve.service import Service, running, wait_for

FAST = {"reload__watch": True, "reload__interval": "60s", "reload__settle": "150ms"}
"""Events of the file system do it: the interval is far longer than any wait of these tests."""


@contextmanager
def watched(folder: Path, **settings: object) -> Iterator[Service]:
    write_teller(folder)
    with running(folder, **{**FAST, **settings}) as service:
        yield service


def await_generation(service: Service, number: int) -> None:
    wait_for(
        lambda: state(service)["generation"] == number,
        20,
        what=f"generation {number}",
        else_say=lambda: service.log,
    )


def text_with(service: Service, **changes: object) -> str:
    """The configuration with `changes`, not written."""
    now = service.config.read_text()
    service.configure(**changes)
    text = service.config.read_text()
    service.config.write_text(now)
    return text


def test_a_file_that_is_edited_or_replaced_is_taken_every_time(tmp_path: Path) -> None:
    with watched(tmp_path) as service:
        with service.config.open("a") as file:
            file.write("# in place\n")
        await_generation(service, 2)
        for number in (3, 4):
            service.configure(env={"N": str(number)})  # a new file, renamed over the old one
            await_generation(service, number)
        assert fetch(place(service)).json["env"]["N"] == "4"
        assert tell(service, "history")[0]["requested_by"] == "watch"
        os.utime(service.config)  # touched; the content is the same
        reload(service)
        service.configure(env={"N": "5"})
        await_generation(service, 6)
        assert [row["requested_by"] for row in tell(service, "history")].count("watch") == 4


def test_the_link_of_a_mounted_config_map_may_swap_again_and_again(tmp_path: Path) -> None:
    """As the kubelet does it: `hitless.toml -> ..data/hitless.toml`, `..data -> ..N`, and only `..data` is replaced."""
    write_teller(tmp_path)
    service = Service(tmp_path)
    settings = {"app": "app:app", "bind": ["127.0.0.1:0"], "state_dir": str(tmp_path / "state"), **FAST}

    def swap(number: int) -> None:
        service.configure(**settings, env={"N": str(number)})
        text = (tmp_path / "hitless.toml").read_text()
        version = tmp_path / f"..{number}"
        version.mkdir()
        (version / "hitless.toml").write_text(text)
        (tmp_path / "hitless.toml").unlink()
        (tmp_path / "hitless.toml").symlink_to("..data/hitless.toml")
        (tmp_path / "..new").symlink_to(version.name)
        (tmp_path / "..new").rename(tmp_path / "..data")

    def swap_data_only(number: int) -> None:
        version = tmp_path / f"..{number}"
        version.mkdir()
        text = (tmp_path / "..data" / "hitless.toml").read_text()
        (version / "hitless.toml").write_text(re.sub('"N" = "[0-9]+"', f'"N" = "{number}"', text))
        (tmp_path / "..new").symlink_to(version.name)
        (tmp_path / "..new").rename(tmp_path / "..data")

    swap(1)
    try:
        service.start()
        for number in (2, 3):
            swap_data_only(number)
            await_generation(service, number)
    finally:
        service.end()


def test_a_half_written_file_is_never_loaded(tmp_path: Path) -> None:
    with watched(tmp_path, reload__settle="400ms") as service:
        text = text_with(service, env={"N": "2"})
        with service.config.open("w") as file:
            for piece in (text[:20], text[20:60], text[60:]):
                file.write(piece)
                file.flush()
                state(service)  # a moment that is far shorter than the time to settle
        await_generation(service, 2)
        assert "change.rejected" not in service.log
        assert " rejected" not in service.log
        assert len(tell(service, "history")) == 2


def test_what_was_refused_is_tried_again_when_it_changes_and_forgotten_when_it_goes(tmp_path: Path) -> None:
    with watched(tmp_path) as service:
        good = service.config.read_text()
        service.config.write_text("workers = 'many'\n" + good)
        wait_for(lambda: state(service)["watch"]["failing"], 20, what="a refused file")
        shown = state(service)
        assert shown["generation"] == 1
        assert shown["last_outcome"]["reason"] == "configuration_invalid"
        service.config.write_text(good)
        wait_for(lambda: not state(service)["watch"]["failing"], 20, what="the end of the failure")
        assert len(tell(service, "history")) == 2, "what serves is not loaded again"
        service.config.write_text("workers = 'many'\n" + good)
        wait_for(lambda: state(service)["watch"]["failing"], 20, what="the same content refused again")
        service.config.write_text("workers = 2\n" + good)
        await_generation(service, 2)
        assert state(service)["watch"]["failing"] is None


def test_watching_is_off_until_it_is_asked_for_and_can_be_turned_off(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path) as service:
        assert state(service)["watch"] is None
        reload(service, **FAST)
        assert state(service)["watch"] == {"failing": None}
        service.configure(reload__watch=False)
        await_generation(service, 3)
        # The generation serves a moment before what stands around it follows.
        wait_for(lambda: state(service)["watch"] is None, 30, what="nobody watches any more")
