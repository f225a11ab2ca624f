from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hitless.cli.app import build
from hitless.config import TomlFile, load
from hitless.serve.settings import ServeSettings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def test_the_page_of_options_is_what_the_settings_say() -> None:
    page = runpy.run_path(str(DOCS / "options.py"))["page"]()
    assert (DOCS / "options.md").read_text() == page, "run: python docs/options.py > docs/options.md"


def test_every_reason_that_serve_can_give_is_explained() -> None:
    sources = [*(ROOT / "src/hitless/serve").glob("*.py"), *(ROOT / "src/hitless/change").glob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    given = set(re.findall(r'(?:Refused|LoadFailed|_failed)\(\s*"([a-z_]+)"', text))
    given |= set(re.findall(r'"?reason"?[=:]\s*"([a-z_]+)"', text))
    explained = set(re.findall(r"`([a-z_]+)`", (DOCS / "operations.md").read_text()))
    assert given - explained == set()


@pytest.mark.parametrize("page", ["serve.md", "config.md", "notifications.md"])
def test_configuration_examples_are_valid(page: str, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(DOCS / page, "toml")):
        if "app =" not in block:
            tomllib.loads(block)
            continue
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        file.chmod(0o644)
        load(ServeSettings, TomlFile(file))


def test_every_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`?hitless ([a-z]+)\b", (ROOT / "README.md").read_text()))
    runner = CliRunner()
    for command in sorted(named - {"is"}):
        result = runner.invoke(build(), [command, "--help"])
        assert result.exit_code == 0, f"hitless {command}: {result.output}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
