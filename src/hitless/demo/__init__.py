"""`hitless demo`: a real service under live load, changed in every way while clients use it."""

from __future__ import annotations

from hitless.demo.report import DemoReport, StepReport
from hitless.demo.run import run

__all__ = ["DemoReport", "StepReport", "run"]
