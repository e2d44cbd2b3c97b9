"""Slow and silent clients give up their places, on a real server."""

import contextlib
import http.client
import socket
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="needs jaxsep[studio]")
import uvicorn

from jaxsep.studio import connections, queue_api
from jaxsep.studio.app import make_app
from jaxsep.studio.connections import Connection
from jaxsep.studio.queue import Limits, Studio

HOST = b"Host: 127.0.0.1\r\n"
UPLOAD = b"POST /api/jobs?name=a.wav HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "songs").mkdir()
    return tmp_path / "songs"


@pytest.fixture
def port(folder, monkeypatch):
    """A server in a thread, whose patience is short."""
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(queue_api, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(queue_api, "LEAST_BYTES", 1000)
    studio = Studio({"a": None}, folder, Limits(songs=2))  # no song gets as far as a model
    server = uvicorn.Server(
        uvicorn.Config(make_app(studio), http=Connection, log_level="critical", ws="none")
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    """Reads until the server closes."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(2**16):
            pieces.append(piece)
    return b"".join(pieces)


def test_a_silent_connection_is_closed(port):
    with connect(port) as connection:
        assert read_all(connection) == b""


def send_slowly(connection: socket.socket, data: bytes) -> None:
    """Sends byte by byte, for ten seconds, until the server closes the connection."""
    with contextlib.suppress(OSError):
        for _ in range(200):
            connection.sendall(data)
            time.sleep(0.05)
        pytest.fail("it goes on")


def test_a_request_that_never_ends_is_closed(port):
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nA: ")
        send_slowly(connection, b"a")


def test_an_upload_that_stalls_gives_up_its_place(port, folder):
    stalled = [connect(port) for _ in range(2)]
    for connection in stalled:
        connection.sendall(UPLOAD + b"x" * 999)
    for connection in stalled:
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 408") and b"a.wav: too slow" in answer
        connection.close()
    assert not list(folder.iterdir())
    with connect(port) as connection:
        connection.sendall(UPLOAD.replace(b"1000000", b"5") + b"lyric")
        assert connection.recv(2**16).startswith(b"HTTP/1.1 201")


def test_an_upload_that_comes_byte_by_byte_gives_up_its_place(port, folder):
    with connect(port) as connection:
        connection.sendall(UPLOAD)
        send_slowly(connection, b"x")
    assert not list(folder.iterdir())


def test_an_upload_that_goes_on_is_taken_however_long_it_takes(port):
    with connect(port) as connection:
        connection.sendall(UPLOAD.replace(b"1000000", b"12000"))
        for _ in range(6):
            connection.sendall(b"x" * 2000)
            time.sleep(0.25)
        assert connection.recv(2**16).startswith(b"HTTP/1.1 201")


def test_requests_may_follow_each_other_on_a_connection(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.connect()
    opened = connection.sock
    for _ in range(3):
        connection.request("GET", "/api/studio")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        assert connection.sock is opened
        time.sleep(0.2)
    connection.close()


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /api/studio HTTP/1.0\r\n\r\n",
        b"GET /api/studio HTTP/1.1\r\n\r\n",
        b"GET /api/studio HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET /api/studio HTTP/1.1\r\nHost: a{b.evil.example\r\n\r\n",
        b"GET http://127.0.0.1/api/studio HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /api/studio HTTP/1.1\r\n" + HOST + b"Origin: http://[\r\n\r\n",
        b"GET /api/studio HTTP/1.1\r\n" + HOST.replace(b"1\r", b"1{\r") + b"\r\n",
    ],
)
def test_odd_requests_are_refused(port, request_line):
    with connect(port) as connection:
        connection.sendall(request_line)
        assert read_all(connection)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403")
