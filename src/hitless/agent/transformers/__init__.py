"""What changes samples between a source and its publishers: rates, units, arithmetic, aggregation."""

from __future__ import annotations
