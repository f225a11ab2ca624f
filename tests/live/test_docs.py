"""The page's example is a program that the tests run."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.change.documents import blocks

from hitless.demo.place import temporary

NFS = '\n[backends.nfs-1]\naddress = "10.0.0.2"\n'


def test_the_example_of_the_page_runs_and_changes() -> None:
    with temporary() as folder:
        program, settings = folder / "volumed.py", folder / "volumes.toml"
        program.write_text(blocks("live.md", "python")[0])
        settings.write_text(blocks("live.md", "toml")[0])
        settings.chmod(0o644)
        environ = {
            **os.environ,
            "HITLESS_RUN_DIR": str(folder / "run"),
            "HITLESS_STATE_DIR": str(folder / "state"),
        }
        process = subprocess.Popen(
            [sys.executable, program], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True
        )

        def reload() -> int:
            command = [sys.executable, "-m", "hitless", "reload", "volumes"]
            return subprocess.run(command, cwd=folder, env=environ, timeout=60, check=False).returncode

        try:
            assert process.stdout is not None
            said = iter(process.stdout.readline, "")
            assert "lvm-1 of lvm-1 at 10.0.0.1\n" in said
            good = settings.read_text()
            settings.write_text(good + NFS)
            assert reload() == 0
            assert "nfs-1 of lvm-1, nfs-1 at 10.0.0.2\n" in said
            settings.write_text((good + NFS).replace("10.0.0.2", "nowhere"))
            assert reload() == 3
            settings.write_text(good)
            assert reload() == 0
            assert "close nfs-1\n" in said
        finally:
            process.kill()
            process.communicate()
