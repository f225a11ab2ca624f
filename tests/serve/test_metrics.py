"""The figures of a service, as Prometheus reads them."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from serve.clients import Held, fetch, place, reload, state, tell, write_teller
from serve.service import Service, running, wait_for

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(found: Samples, name: str, **labels: str) -> float:
    return found[f"hitless_{name}", frozenset(labels.items())]


def scraped(service: Service) -> Samples:
    host, _, port = state(service)["metrics_addresses"][0].rpartition(":")
    answer = fetch((host, int(port)), "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return samples(answer.body.decode())


def test_figures_add_up_over_reloads_and_tell_why_changes_were_refused(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path, metrics__bind="127.0.0.1:0", workers=2) as service, Held(place(service)) as held:
        for _ in range(3):
            for _ in range(5):
                assert held.ask().status == 200
            reload(service)
        assert fetch(place(service), "/broken").status == 500
        code = (tmp_path / "app.py").read_text()
        (tmp_path / "app.py").write_text("1 +")
        assert tell(service, "reload")["outcome"]["status"] == "rejected"
        (tmp_path / "app.py").write_text(code)
        wait_for(lambda: not state(service)["drains"], 10, what="the end of the drains")

        found = scraped(service)
        assert figure(found, "requests_total") == 16
        assert figure(found, "responses_total", **{"class": "2xx"}) == 15
        assert figure(found, "responses_total", **{"class": "5xx"}) == 1
        assert figure(found, "connections_opened_total") == 2
        assert figure(found, "handed_over_total") == figure(found, "connections_adopted_total") == 3
        assert figure(found, "cut_total") == figure(found, "taken_back_total") == 0
        assert figure(found, "generation") == 4
        assert figure(found, "connections") == 1
        assert figure(found, "in_flight") == 0
        assert figure(found, "workers", state="serving") == 2
        assert figure(found, "changes_total", kind="reload", status="applied", reason="") == 3
        assert figure(found, "changes_total", kind="reload", status="rejected", reason="syntax_error") == 1
        assert figure(found, "last_change_successful") == 0
        assert figure(found, "last_change_success_timestamp_seconds") > 0
        assert figure(found, "change_phase_seconds", phase="prepare") > 0
        hashes = next(dict(labels) for name, labels in found if name == "hitless_settings_info")
        assert hashes["applied"] == hashes["attempted"], "the code was refused, not the settings"

        service.configure(workers=3, app="nowhere:app")
        assert tell(service, "reload")["outcome"]["reason"] == "module_missing"
        shown = state(service)
        assert shown["attempted_hash"] != shown["applied_hash"]
        hashes = next(dict(labels) for name, labels in scraped(service) if name == "hitless_settings_info")
        assert hashes == {"applied": shown["applied_hash"], "attempted": shown["attempted_hash"]}

        told = service.command("metrics")
        assert told.code == 0
        assert set(samples(told.out)) == set(scraped(service)), "the same figures either way"


def test_the_address_for_scraping_changes_and_goes_on_reload(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path, metrics__bind="127.0.0.1:0") as service:
        first = state(service)["metrics_addresses"]
        reload(service)
        assert state(service)["metrics_addresses"] == first, "kept, as any address is"
        reload(service, metrics__bind="[::1]:0")
        assert figure(samples(service.command("metrics").out), "generation") == 3
        (shown,) = state(service)["metrics_addresses"]
        port = int(shown.rpartition(":")[2])
        assert fetch(("::1", port), "/metrics").status == 200
        assert fetch(("::1", port), "/elsewhere").status == 404
        reload(service, metrics__bind=None)
        assert state(service)["metrics_addresses"] == []
        try:
            fetch(("::1", port), "/metrics")
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("nobody answers there any more")
