"""`python -m hitless` is `hitless`."""

from __future__ import annotations

import sys

from hitless.cli import main

if __name__ == "__main__":
    sys.exit(main())
