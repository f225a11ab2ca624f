from __future__ import annotations

import math
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from hitless.config import Bytes, FileMode, Seconds, parse_bytes, parse_file_mode, parse_seconds


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (20, 20.0),
        (2.5, 2.5),
        ("20", 20.0),
        ("20s", 20.0),
        ("250ms", 0.25),
        ("1m30s", 90.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1d2h3m4s5ms", 93784.005),
        (" 1.5m ", 90.0),
        ("0s", 0.0),
    ],
)
def test_seconds_are_numbers_or_text_with_units(given: object, seconds: float) -> None:
    assert parse_seconds(given) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "s",
        "20 s",
        "20S",
        "1s1s",
        "30s1m",
        "1m-30s",
        "-5s",
        "abc",
        "1e3s",
        "1 m",
        "٣s",
        "٣",
        "nan",
        "inf",
        True,
        None,
        [1],
        "1m30",
    ],
)
def test_what_is_no_time_is_refused_and_told_what_is(wrong: object) -> None:
    with pytest.raises(ValueError, match=r'"20s", "250ms", "1m30s", "2h" or "1d"'):
        parse_seconds(wrong)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (0, 0),
        (1024, 1024),
        ("64KiB", 65536),
        ("10MB", 10_000_000),
        ("1GiB", 2**30),
        ("1.5 KiB", 1536),
        ("7B", 7),
        ("12", 12),
    ],
)
def test_bytes_are_whole_numbers_or_text_with_units(given: object, size: int) -> None:
    assert parse_bytes(given) == size


@pytest.mark.parametrize(
    "wrong", ["", "KiB", "1kb", "1.5B", "1.0001KiB", "-1KiB", 1.5, True, None, "64 K", "1KiB2"]
)
def test_what_is_no_size_is_refused_and_told_what_is(wrong: object) -> None:
    with pytest.raises(ValueError, match=r'"64KiB", "10MB" or "1GiB"'):
        parse_bytes(wrong)


@pytest.mark.parametrize(
    ("given", "mode"), [("0027", 0o27), ("0o27", 0o27), ("27", 0o27), ("0", 0), ("7777", 0o7777)]
)
def test_file_modes_are_octal_text(given: str, mode: int) -> None:
    assert parse_file_mode(given) == mode


@pytest.mark.parametrize("wrong", [27, 0o27, "0x1f", "8", "0o", "", "07777777", "rwx", None])
def test_a_file_mode_that_could_be_meant_otherwise_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match='octal text such as "0027"'):
        parse_file_mode(wrong)


@given(st.floats(0, 1e9), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_any_written_time_is_a_finite_number_not_below_zero(number: float, unit: str) -> None:
    seconds = parse_seconds(f"{number:.3f}{unit}")
    assert math.isfinite(seconds)
    assert seconds >= 0


class Model(BaseModel):
    time: Annotated[Seconds, Field(gt=0)] = 1.0
    maybe: Bytes | None = Field(None, ge=1)
    mode: FileMode = 0o27


def test_bounds_hold_for_values_with_units() -> None:
    for wrong in ({"time": "0s"}, {"time": float("nan")}, {"time": float("inf")}, {"maybe": "0B"}):
        with pytest.raises(ValidationError):
            Model.model_validate(wrong)
    assert Model(maybe="1KiB").maybe == 1024  # type: ignore[arg-type]


def test_values_with_units_are_stored_so_that_they_can_be_loaded_again() -> None:
    stored = Model(time="1m", maybe="1KiB", mode="0640").model_dump_json()  # type: ignore[arg-type]
    assert Model.model_validate_json(stored, strict=True) == Model(time=60.0, maybe=1024, mode="0640")  # type: ignore[arg-type]
