"""A service's own oslo.config option definitions as typed settings. Needs `hitless[oslo]`."""

from __future__ import annotations

from hitless.config.oslo.file import OsloFile
from hitless.config.oslo.options import Backends, OsloOptions, OsloOptionsError, Reload

__all__ = ["Backends", "OsloFile", "OsloOptions", "OsloOptionsError", "Reload"]
