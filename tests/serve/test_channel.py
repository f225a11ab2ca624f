from __future__ import annotations

import asyncio
import os
import socket

import pytest

from hitless.serve import channel
from hitless.serve.channel import AsyncChannel, ChannelClosed, Message


def blocking_pair() -> tuple[socket.socket, socket.socket]:
    one, other = channel.pair()
    one.setblocking(True)
    other.setblocking(True)
    return one, other


def test_a_message_arrives_whole_with_its_descriptors() -> None:
    one, other = blocking_pair()
    reader, writer = os.pipe()
    channel.send(one, "fork", [writer], worker=3)
    message = channel.receive(other)
    assert (message.kind, message["worker"], len(message.fds)) == ("fork", 3, 1)
    os.write(message.fds[0], b"x")
    assert os.read(reader, 1) == b"x"
    assert not os.get_inheritable(message.fds[0])


def test_death_of_the_other_end_is_told_after_everything_it_said() -> None:
    one, other = blocking_pair()
    channel.send(other, "unread")
    channel.send(one, "last words")
    one.close()  # with a packet of ours unread: the kernel reports a reset first
    assert channel.receive(other).kind == "last words"
    with pytest.raises(ChannelClosed):
        channel.receive(other)


def test_a_clipped_detail_keeps_its_end() -> None:
    text = "x" * channel.DETAIL_CHARS + "the cause"
    assert channel.clip(text).endswith("the cause")
    assert len(channel.clip(text)) == channel.DETAIL_CHARS + 1


async def test_messages_to_a_slow_reader_wait_in_order() -> None:
    loop = asyncio.get_running_loop()
    one, other = channel.pair()
    got: list[Message] = []
    closed = loop.create_future()
    sender = AsyncChannel(loop, one, on_message=got.append, on_closed=lambda: None)
    for number in range(2000):
        sender.send("n", number=number, filler="x" * 1000)
    done = loop.create_future()

    def receive(message: Message) -> None:
        got.append(message)
        if len(got) == 2000:
            done.set_result(None)

    AsyncChannel(loop, other, on_message=receive, on_closed=lambda: closed.set_result(None))
    await asyncio.wait_for(done, 10)
    assert [message["number"] for message in got] == list(range(2000))
    sender.close()
    await asyncio.wait_for(closed, 5)


async def test_the_death_of_the_other_end_is_told_once() -> None:
    loop = asyncio.get_running_loop()
    one, other = channel.pair()
    deaths: list[int] = []
    told = loop.create_future()

    def died() -> None:
        deaths.append(1)
        told.set_result(None)

    mine = AsyncChannel(loop, one, on_message=lambda message: None, on_closed=died)
    other.close()
    await asyncio.wait_for(told, 5)
    assert deaths == [1]
    assert not mine.is_open
    mine.send("to nobody")  # dropped, not an error


async def test_a_message_to_a_process_that_is_gone_closes_the_descriptors_that_it_was_to_carry() -> None:
    loop = asyncio.get_running_loop()
    one, other = channel.pair()
    mine = AsyncChannel(loop, one, on_message=lambda message: None, on_closed=lambda: None)
    mine.close()
    left, right = socket.socketpair()
    mine.send("peer", [left.fileno()], keep=[left])
    assert right.recv(1) == b""
    right.close()
    other.close()


async def test_a_descriptor_that_its_sender_closes_while_the_message_waits_arrives_all_the_same() -> None:
    loop = asyncio.get_running_loop()
    one, other = channel.pair()
    mine = AsyncChannel(loop, one, on_message=lambda message: None, on_closed=lambda: None)
    sent = 0
    while not mine._waiting:
        mine.send("filler", text="x" * 10_000)
        sent += 1
    reader, writer = os.pipe()
    mine.send("log", [writer])
    os.close(writer)
    os.close(reader)
    reader, writer = os.pipe()  # gets the numbers, as the next log file does
    got: list[Message] = []
    done = loop.create_future()

    def receive(message: Message) -> None:
        got.append(message)
        if message.kind == "log":
            done.set_result(None)

    theirs = AsyncChannel(loop, other, on_message=receive, on_closed=lambda: None)
    await asyncio.wait_for(done, 5)
    assert len(got) == sent + 1
    with pytest.raises(BrokenPipeError):  # the first pipe, whose reader is gone; not the one with its number
        os.write(got[-1].fds[0], b"x")
    for fd in (reader, writer, *got[-1].fds):
        os.close(fd)
    theirs.close()
    mine.close()
