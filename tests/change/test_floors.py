"""The supervisor must stay small, and the kernel must not know what is above it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def imported(*packages: str) -> set[str]:
    """The modules that are there after importing these in a fresh interpreter."""
    script = f"import sys; before = set(sys.modules); import {', '.join(packages)}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_kernel_imports_the_standard_library_and_nothing_else() -> None:
    modules = imported("hitless.change")
    foreign = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"hitless"}
    assert {name for name in foreign if not name.startswith("_")} == set()
    assert not {
        name for name in modules if name.startswith(("hitless.config", "hitless.control", "hitless.serve"))
    }


@pytest.mark.parametrize(
    "heavy", ["watchfiles", "anyio", "typer", "rich", "structlog", "prometheus_client", "uvloop"]
)
def test_what_only_some_need_is_not_imported_for_all(heavy: str) -> None:
    assert heavy not in imported("hitless.change", "hitless.config", "hitless.control")


def test_configuration_and_control_do_not_know_each_other_or_what_is_above() -> None:
    assert not {
        name for name in imported("hitless.config") if name.startswith(("hitless.control", "hitless.serve"))
    }
    assert not {
        name for name in imported("hitless.control") if name.startswith(("hitless.config", "hitless.serve"))
    }
    assert "pydantic" not in imported("hitless.control")
