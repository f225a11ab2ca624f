"""What is kept of a command's output."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hitless.rollout.executors.capture import Capture

NONCE = "0123456789abcdef"
CHUNKS = st.lists(
    st.binary(max_size=40) | st.sampled_from([b"\n", b"\n0123", b"\n" + NONCE.encode()]), max_size=12
)


@given(CHUNKS, st.lists(st.integers(1, 30), min_size=1, max_size=20), st.sampled_from(["0", "137"]))
def test_marks_are_found_wherever_the_pieces_are_cut(body: list[bytes], cuts: list[int], code: str) -> None:
    output = b"".join(body).replace(b"\n" + NONCE.encode() + b" ", b"")
    data = f"motd\n\n{NONCE} ready\n".encode() + output + f"\n{NONCE} {code}\nof a daemon".encode()
    capture, at = Capture(NONCE, 100_000), 0
    while at < len(data):
        size = cuts[at % len(cuts)]
        capture.feed(data[at : at + size])
        at += size
    capture.close()
    assert capture.words == ["ready", code]
    assert capture.text() == output.decode(errors="replace")


@given(st.binary(max_size=5000), st.integers(1, 700), st.integers(10, 2000))
def test_of_too_much_the_beginning_and_the_end_are_kept(data: bytes, size: int, limit: int) -> None:
    data = data.replace(b"\n", b"x")
    capture = Capture(NONCE, limit)
    for at in range(0, len(data), size):
        capture.feed(data[at : at + size])
    capture.close()
    half = limit // 2
    missing = len(data) - 2 * half
    text = data
    if missing > 0:
        text = data[:half] + f"\n[{missing} bytes are not kept]\n".encode() + data[-half:]
    assert capture.text() == text.decode(errors="replace")
