"""Connections on a real port: those that say nothing, or half of something, and those that are many."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from clipsieve.review.web import connections
from clipsieve.review.web.connections import BehindAnother, Bounded

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope, receive, send) -> None:
    """Answer `/slow` after a while, `/large` with more than a socket holds, and all else at once."""
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    body = b"x" * (64 << 20) if scope["path"] == "/large" else b"here"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def server(monkeypatch) -> Iterator[Callable[..., int]]:
    """Give a function that starts a server and returns its port."""
    monkeypatch.setattr(connections, "HEADER_S", 0.4)
    monkeypatch.setattr(connections, "UNREAD_S", 0.4)
    ends = contextlib.ExitStack()

    def start(protocol: type[Bounded] = Bounded, **settings: int) -> int:
        for name, value in settings.items():
            monkeypatch.setattr(connections, name, value)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=30
        )
        made = uvicorn.Server(config)
        thread = threading.Thread(target=made.run, kwargs={"sockets": [listener]})
        thread.start()
        ends.callback(thread.join, 5)
        ends.callback(setattr, made, "should_exit", True)
        return listener.getsockname()[1]

    with ends:
        yield start


def opened(port: int, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=3)
    connection.sendall(said)
    return connection


def answered(connection: socket.socket) -> bool:
    """Return whether an answer comes, and not an end."""
    text = b""
    with contextlib.suppress(ConnectionError):
        while not text.endswith(b"here") and (received := connection.recv(1000)):
            text += received
    return text.endswith(b"here")


def listen(connection: socket.socket) -> int:
    """Return how many bytes come until the end."""
    n_bytes = 0
    with contextlib.suppress(ConnectionError):
        while received := connection.recv(1 << 20):
            n_bytes += len(received)
    return n_bytes


def go_on(connection: socket.socket) -> None:
    """Say a little now and then, for three seconds."""
    for _ in range(30):
        connection.sendall(b"a")
        time.sleep(0.1)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HT",
        REQUEST[:-2] + b"X-A: ",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx",  # a body that nobody asks for, and that never ends
        REQUEST + b"GET / HT",
    ],
)
def test_who_says_nothing_whole_is_hung_up_on_however_slowly_they_go_on(server, said):
    with opened(server(), said) as connection:
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            go_on(connection)
        assert time.monotonic() - started > 0.3


def test_who_is_answered_or_may_ask_again_is_not_hung_up_on(server):
    port = server()
    with opened(port, REQUEST.replace(b"/ ", b"/slow ", 1)) as slow, opened(port, REQUEST) as again:
        assert answered(again)
        time.sleep(0.7)  # longer than a header may take
        again.sendall(REQUEST)
        assert answered(again)
        assert answered(slow)


def test_who_does_not_take_an_answer_is_hung_up_on(server):
    with opened(server(), REQUEST.replace(b"/ ", b"/large ", 1)) as connection:
        time.sleep(1)
        assert listen(connection) < 64 << 20


def test_of_one_address_the_oldest_that_is_idle_gives_way(server):
    port = server(MAX_OF_ADDRESS=4)
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(opened(port, REQUEST.replace(b"/ ", b"/slow ", 1)))
        idle = [stack.enter_context(opened(port)) for _ in range(3)]
        time.sleep(0.3)
        new = stack.enter_context(opened(port, REQUEST))
        assert answered(new)
        assert not answered(idle[0])
        idle[1].sendall(REQUEST)
        assert answered(idle[1])
        assert answered(busy)


@pytest.mark.parametrize("setting", ["MAX_OF_ADDRESS", "MAX_CONNECTIONS"])
def test_where_all_are_busy_one_more_is_closed(server, setting):
    port = server(**{setting: 2})
    slow = REQUEST.replace(b"/ ", b"/slow ", 1)
    with opened(port, slow) as first, opened(port, slow) as second:
        time.sleep(0.1)
        with opened(port) as third:
            assert not answered(third)
        assert answered(first)
        assert answered(second)


def test_the_server_before_it_may_have_as_many_as_it_likes(server):
    port = server(BehindAnother, MAX_OF_ADDRESS=2)
    with contextlib.ExitStack() as stack:
        opened_ = [stack.enter_context(opened(port)) for _ in range(6)]
        for connection in opened_:
            connection.sendall(REQUEST)
        assert all(map(answered, opened_))
