from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from volumes.service import main

parser = argparse.ArgumentParser(prog="volumes", description="A volume service.")
parser.add_argument("config", type=Path, nargs="?", default=Path("volumes.toml"))
parser.add_argument("--state-dir", type=Path, help="where the journal of changes is kept")
given = parser.parse_args()
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
sys.exit(asyncio.run(main(given.config, given.state_dir)))
