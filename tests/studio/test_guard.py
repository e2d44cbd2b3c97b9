"""Strangers can't ask the studio, whatever their requests look like."""

import pytest

pytest.importorskip("fastapi", reason="needs jaxsep[studio]")
pytest.importorskip("httpx2", reason="needs httpx2")

from fastapi.testclient import TestClient

from jaxsep.studio.app import make_app
from jaxsep.studio.guard import refusal
from jaxsep.studio.queue import Studio


@pytest.fixture
def client(tmp_path):
    """Asks a studio that has no model; none is needed to be refused."""
    with TestClient(make_app(Studio({}, tmp_path)), base_url="http://127.0.0.1") as client:
        yield client


OWN = [b"127.0.0.1", b"127.0.0.1:8000", b"localhost", b"LOCALHOST:1", b"[::1]:65535", b"127.0.0.2"]
STRANGE = [
    b"evil.example",
    b"localhost.evil.example",
    b"127.0.0.1.evil.example",
    b"evil.example:127.0.0.1",
    b"evil-localhost",
    b"localhost.",
    b"a.localhost",
    b"0.0.0.0",
    b"10.0.0.1",
    b"[::2]",
    b"[::ffff:10.0.0.1]",
    # What Starlette can't parse.
    b"a{b.evil.example",
    b"a`b.evil.example",
    b'a"b.evil.example',
    b"127.0.0.1{",
    b"{127.0.0.1",
    b"[",
    b"[::1",
    b"::1",
    b"",
    b" ",
    b":8000",
    b"127.0.0.1:",
    b"127.0.0.1:a",
    b"127.0.0.1:123456",
    b"127.0.0.1 ",
    b"127.0.0.1\n",
    b"127.0.0.1,evil.example",
    b"127.0.0.1@evil.example",
    b"evil.example@127.0.0.1",
    b"127.0.0.1/evil.example",
    b"127.0.0.1#evil.example",
    b"127.0.0.1\x00.evil.example",
    b"\xff",
]


@pytest.mark.parametrize("host", OWN)
def test_this_computers_names_are_its_own(host):
    assert refusal([(b"host", host)], is_local=True) is None


@pytest.mark.parametrize("host", STRANGE)
def test_any_other_name_is_a_strangers(host):
    assert refusal([(b"host", host)], is_local=True)


@pytest.mark.parametrize("hosts", [[], [b"127.0.0.1"] * 2, [b"127.0.0.1", b"evil.example"]])
@pytest.mark.parametrize("is_local", [True, False])
def test_there_is_one_name(hosts, is_local):
    assert refusal([(b"host", host) for host in hosts], is_local=is_local)


@pytest.mark.parametrize("host", [b"music.example:80", b"10.0.0.1", b"[fe80::1]:80", b"my_pc"])
def test_with_a_token_it_may_have_any_proper_name(host):
    assert refusal([(b"host", host)], is_local=False) is None
    assert refusal([(b"host", host), (b"origin", b"http://evil.example")], is_local=False)
    assert refusal([(b"host", host + b"{")], is_local=False)


@pytest.mark.parametrize(
    "origins",
    [
        [b"http://evil.example"],
        [b"http://localhost"],
        [b"http://localhost:81"],
        [b"http://localhost:80.evil.example"],
        [b"http://evil.example@localhost:80"],
        [b"file://localhost:80"],
        [b"localhost:80"],
        [b"null"],
        [b""],
        [b"http://["],
        [b"http://"],
        [b"http://localhost:80", b"http://evil.example"],
        [b"http://localhost:80 http://evil.example"],
    ],
)
def test_a_page_from_elsewhere_is_a_strangers(origins):
    headers = [(b"host", b"localhost:80"), *((b"origin", origin) for origin in origins)]
    assert refusal(headers, is_local=True) == "another site's page may not ask the studio"


@pytest.mark.parametrize("origin", [b"http://localhost:80", b"https://localhost:80"])
def test_its_own_page_is_not_a_strangers(origin):
    assert refusal([(b"host", b"Localhost:80"), (b"origin", origin)], is_local=True) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "localhost.evil.example"},
        {"host": "a{b.evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "http://["},
        {"origin": "null"},
    ],
)
def test_strangers_are_answered_403_for_whatever_they_ask(client, headers, tmp_path):
    for path in ("/", "/main.js", "/api/studio", "/api/openapi.json", "/nothing"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 403
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert client.post("/api/jobs?name=x", content=b"x", headers=headers).status_code == 403
    assert client.delete("/api/jobs/x", headers=headers).status_code == 403
    assert not list(tmp_path.iterdir())


def test_the_page_may_load_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "http" not in page.text


def test_with_a_token_nobody_else_comes_in(tmp_path):
    app = make_app(Studio({}, tmp_path), token="secret")
    with TestClient(app, base_url="http://music.example") as client:
        assert client.get("/").status_code == 403
        assert client.get("/?token=").status_code == 403
        assert client.get("/?token=wrong").status_code == 403
        assert client.get("/api/studio?token=secret").status_code == 403
        for header in ("Bearer", "Bearer ", "Bearer secrets", "secre", "Bearer \xff"):
            headers = {"Authorization": header.encode("latin-1")}
            assert client.get("/api/studio", headers=headers).status_code == 403
        header = {"Authorization": "Bearer secret"}
        assert client.get("/api/studio", headers=header).status_code == 200
        bad = {"Host": "a{b.evil.example"}
        assert client.get("/?token=secret", headers=bad).status_code == 403
        answer = client.get("/?token=secret", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        attributes = answer.headers["set-cookie"].lower().split("; ")
        assert {"httponly", "samesite=strict"} <= set(attributes)
        assert client.get("/").status_code == client.get("/api/studio").status_code == 200
