"""The pages of balancers and executors say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from hitless.rollout.balancers.settings import (
    BalancerSettings,
    CommandSettings,
    HAProxySettings,
    NginxSettings,
)
from hitless.rollout.balancers.upstream_file import statuses
from hitless.rollout.executors.settings import AnsibleSettings, ExecutorSettings, LocalSettings, SshSettings

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS: list[tuple[str, str, type[BaseModel]]] = [
    ("balancers.md", "HAProxy", HAProxySettings),
    ("balancers.md", "nginx", NginxSettings),
    ("balancers.md", "A command", CommandSettings),
    ("executors.md", "local", LocalSettings),
    ("executors.md", "ssh", SshSettings),
    ("executors.md", "ansible", AnsibleSettings),
]


def section(page: str, title: str) -> str:
    return (DOCS / page).read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(("page", "title", "model"), SECTIONS, ids=[each[1] for each in SECTIONS])
def test_every_key_is_explained_and_every_key_that_is_explained_exists(
    page: str, title: str, model: type[BaseModel]
) -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", section(page, title), re.MULTILINE)
    explained = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert explained == set(model.model_fields) - {"kind"}


@pytest.mark.parametrize(
    ("page", "key", "kind"),
    [("balancers.md", "balancers", BalancerSettings), ("executors.md", "executor", ExecutorSettings)],
)
def test_the_examples_are_valid(page: str, key: str, kind: type) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        found = yaml.safe_load(example)[key]
        for each in found.values() if key == "balancers" else [found]:
            TypeAdapter(kind).validate_python(each)


def test_the_upstream_file_of_the_page_is_understood() -> None:
    text = re.findall(r"```nginx\n(.*?)```", (DOCS / "balancers.md").read_text(), re.DOTALL)[0]
    assert statuses(text) == {"n1": "ready", "n2": "ready"}
