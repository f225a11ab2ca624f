"""What files hold, as one hash: how a change is told from a touch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def content_hash(contents: Iterable[bytes]) -> str:
    """SHA-256 over the contents of several files, in order."""
    whole = hashlib.sha256()
    for content in contents:
        whole.update(hashlib.sha256(content).digest())
    return whole.hexdigest()
