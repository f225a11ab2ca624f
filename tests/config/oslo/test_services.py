"""Options that services declare for oslo.config, from their own packages: what oslo.config lets through is refused here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.config.oslo.conftest import Ask


@pytest.fixture(scope="module")
def told(glance: Ask, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return glance("glance_service.py", str(tmp_path_factory.mktemp("glance-service")))


@pytest.mark.timeout(900)
def test_a_file_of_glance_loads_with_glances_own_types_and_defaults(told: Any) -> None:
    settings = told["settings"]
    assert settings["debug"] is False
    assert settings["image_member_quota"] == 64
    assert settings["image_size_cap"] == 1024**4  # a default
    assert settings["enabled_backends"] == {"fast": "file", "slow": "file"}
    assert settings["image_format"]["disk_formats"] == ["raw", "qcow2"]  # by its deprecated name
    assert (
        settings["task"]["work_dir"] == "file:///tmp/staging/tasks"
    )  # from an option that is not in the file
    assert list(settings["backends"]) == ["fast", "slow"]
    assert settings["backends"]["fast"]["filesystem_store_datadirs"] == ["/srv/a:200", "/srv/b:100"]
    assert settings["backends"]["slow"]["filesystem_store_chunk_size"] == 1024
    assert told["reload"] == {
        "debug": "live",  # declared mutable
        "http_retries": "restart",
        "image_member_quota": "live",  # by our word
        "backends": "live",
    }


def test_differences_are_those_of_values_and_not_of_text(told: Any) -> None:
    assert (told["changed"]["status"], told["changed"]["generation"]) == ("applied", 2)
    assert {each["key"]: (each["old"], each["new"]) for each in told["started"]["differences"]} == {
        "debug": (False, True),
        "image_member_quota": (64, 65),
        "metadata_encryption_key": ("***", "***"),
        "image_format.disk_formats": (["raw", "qcow2"], ["raw"]),
        "backends.slow.filesystem_store_chunk_size": (1024, 2048),
    }
    assert "correct-horse" not in told["told"]
    assert "another-staple" not in told["told"]
    assert told["rewritten"]["hitless"] == "unchanged"
    assert told["rewritten"]["oslo"]["mutate"]["DEFAULT.debug"] == ["no", "True"]


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("debug", '2: debug: expected true or false, got "maybe"'),
        ("image_member_quota", '4: image_member_quota: expected a whole number, got "many"'),
        ("limit_param_default", '2: limit_param_default: expected a whole number of at least 1, got "0"'),
        ("task.task_executor", "9: task.task_executor: expected one of 'taskflow', got \"eventlet\""),
        ("task.work_dir", "9: task.work_dir: $node_stagin_uri stands for nothing; there is no such option"),
        ("debg", "2: debg: unknown option; did you mean debug?"),
    ],
)
def test_what_mutate_lets_through_is_refused(told: Any, name: str, refusal: str) -> None:
    found = told["bad"][name]
    assert found["hitless"] == ["rejected", refusal]
    assert isinstance(found["oslo"]["mutate"], dict), (
        "oslo.config refused the file; it did not when this was written"
    )


def test_a_bad_value_of_a_mutable_option_is_in_force_in_oslo_config(told: Any) -> None:
    oslo = told["bad"]["debug"]["oslo"]
    assert oslo["mutate"] == {"DEFAULT.debug": ["no", "maybe"]}
    assert oslo["read"]["debug"].startswith("ConfigFileValueError")


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_all_options_of_cinder_and_its_libraries(cinder: Ask, tmp_path: Path) -> None:
    told = cinder("cinder_service.py", str(tmp_path))
    assert told["options"] > 1000
    assert told["of_each_backend"] > 500
    assert told["backend"] == [
        "none",  # from backend_defaults
        "192.0.2.1",  # a reference
        "cinder.volume.drivers.lvm.LVMVolumeDriver",  # a default
        "/var/lib/cinder/volumes",  # a default with a reference
    ]
    assert "correct-horse" not in told["shown"]
    changed = [each for each in told["differences"] if not each.startswith("backends.nfs-1.")]
    assert changed == [
        'my_ip: "192.0.2.1" → "192.0.2.2"',
        'enabled_backends: ["lvm-1"] → ["lvm-1", "nfs-1"]',
        'target_ip_address: "192.0.2.1" → "192.0.2.2"',  # what refers to it is another one too
        'iser_ip_address: "192.0.2.1" → "192.0.2.2"',
        'backend_defaults.target_ip_address: "192.0.2.1" → "192.0.2.2"',
        'backend_defaults.iser_ip_address: "192.0.2.1" → "192.0.2.2"',
        "database.connection: changed",
        "database.max_pool_size: 5 → 10",
        'backends.lvm-1.target_ip_address: "192.0.2.1" → "192.0.2.2"',
        'backends.lvm-1.volume_backend_name: "fast" → "faster"',
        'backends.lvm-1.iser_ip_address: "192.0.2.1" → "192.0.2.2"',
        "backends.lvm-1.san_password: changed",
    ]
    added = 'backends.nfs-1.volume_driver: (not set) → "cinder.volume.drivers.nfs.NfsDriver"'
    assert added in told["differences"]
    assert told["bad"] == {
        "hitless": '6: database.max_pool_size: expected a whole number, got "ten"',
        "oslo": {"mutate": {}, "read": {"database.max_pool_size": 5}},
    }
