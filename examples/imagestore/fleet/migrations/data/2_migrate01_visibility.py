"""visibility of images that only release 1 has written"""

from __future__ import annotations

from hitless.schema import Backfill

release = "2"
backfill = Backfill(
    table="images",
    set={"visibility": "case when {is_public} then 'public' else 'private' end"},
    where="{visibility} IS NULL",
)
