"""The example of the page is a program that runs, and its configuration one that the service takes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.change.documents import blocks
from tests.demo.test_volumes_changes import ground
from volumes.settings import Settings

from hitless.config import TomlFile, load


async def test_the_program_of_the_page_is_answered(folder: Path) -> None:
    (program,) = blocks("volumes.md", "python")
    async with ground(folder, targets=0) as made:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=folder, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            printed, _ = await process.communicate()
        assert printed.decode().splitlines() == [
            "done",
            "done",
            "done",
            "aGl0bGVzcw==",
            "there is no volume c",
        ]
        await made.stop()


def test_the_configurations_of_the_page_and_of_the_example_are_valid(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "volumes" / "volumes.toml"
    for number, text in enumerate([*blocks("volumes.md", "toml"), example.read_text()]):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        file.chmod(0o600)
        assert load(Settings, TomlFile(file)).settings.default_backend == "disk"
