"""The door: who is let in, from where, with what, and that the server lives on whatever is thrown at it."""

import asyncio
import http.client
import json
import socket
import ssl
import stat
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from robolearn.clock import MonotonicClock
from robolearn.errors import BenchError
from robolearn.serving import Access, is_loopback, listen
from teleop.console.console import MOST_MESSAGE_BYTES, ConsoleConfig
from teleop.console.desk import ROLES

websockets = pytest.importorskip("websockets", reason="websockets is not installed: pip install -e '.[teleop]'")
pytest.importorskip("fastapi", reason="fastapi is not installed: pip install -e '.[teleop]'")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402


@pytest.fixture(scope="module")
def console():
    with ConsoleConfig(port=0).build(MonotonicClock()) as made:
        made.introduce(cameras=["agent.rgb"])
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with ConsoleConfig(port=0, tokens=tmp_path_factory.mktemp("t") / "tokens.json").build(MonotonicClock()) as made:
        yield made


def port_of(console):
    return int(console.url.rstrip("/").rpartition(":")[2])


def connect(console, role="operator", **options):
    port = port_of(console)
    options.setdefault("origin", f"http://127.0.0.1:{port}")
    return websockets.connect(f"ws://127.0.0.1:{port}/ws/{role}", **options)


def ask(console, method, path, body=None, raw=False, **headers: Any):
    port = port_of(console)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Host": f"127.0.0.1:{port}"} | {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path, body if raw or body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


async def hello(console, **options) -> Any:
    """The first message, or the HTTP status that refused the upgrade."""
    try:
        async with connect(console, **options) as page:
            return json.loads(await asyncio.wait_for(page.recv(), 10))
    except InvalidStatus as error:
        return error.response.status_code


async def until(page, kind, timeout=10.0):
    """The next message of a kind."""
    async with asyncio.timeout(timeout):
        while True:
            data = await page.recv()
            if isinstance(data, str) and (found := json.loads(data))["type"] == kind:
                return found


async def listen_on(page, text="", times=0):
    """Send a text so often, and then take whatever comes until the line is closed."""
    for _ in range(times):
        await page.send(text)
    while True:
        await asyncio.wait_for(page.recv(), 10)


def code(closed):
    """The code of the close frame that the server sent."""
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def alive(console):
    return asyncio.run(hello(console))["type"] == "hello"


def test_pages_come_with_headers_and_name_no_other_place(console):
    for path in ("/", "/operator", "/adversary", "/console.css", "/operator.js"):
        answer, _data = ask(console, "GET", path)
        assert answer.status == 200, path
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
    for file in (Path(__file__).resolve().parents[2] / "teleop/console/page").iterdir():
        text = file.read_text()
        assert "http://" not in text, file.name
        assert "https://" not in text, file.name
        assert "innerHTML" not in text, f"{file.name}: what people type must never become markup"
        assert "style=" not in text, f"{file.name}: the policy forbids inline styles"


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "https://127.0.0.1:1", "http://127.0.0.1", "http://localhost:1"]
)
def test_a_foreign_origin_is_refused_before_the_upgrade(console, origin):
    assert asyncio.run(hello(console, origin=origin)) == 403
    assert console.desk.people() == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "localhost", ""])
def test_a_wrong_host_is_refused_before_the_upgrade(console, host):
    port = port_of(console)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(
            f"GET /ws/operator HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Origin: http://127.0.0.1:{port}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
        )
        assert line.recv(4096).startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))
    assert ask(console, "GET", "/operator", Host=host or "x")[0].status == 403


def test_an_unknown_role_is_refused(console):
    assert asyncio.run(hello(console, role="root")) == 403


def test_a_message_of_a_gigabyte_closes_the_connection_and_the_server_lives(console):
    """Only the header of the frame says a gigabyte; the server must not wait for it, let alone make room."""
    port = port_of(console)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(
            f"GET /ws/operator HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Origin: http://127.0.0.1:{port}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
        )
        assert line.recv(4096).startswith(b"HTTP/1.1 101")
        before = memory_kb()
        line.sendall(b"\x81\xff" + struct.pack(">Q", 1 << 30) + b"\0\0\0\0" + b"x" * 65536)
        line.settimeout(10)
        received = b""
        try:
            while block := line.recv(65536):
                received += block
        except ConnectionResetError:
            pass
        assert struct.pack(">H", 1009) in received, "the close frame says: message too big"
        assert memory_kb() - before < 50_000
    assert alive(console)


def test_a_message_beyond_the_limit_and_a_large_body_are_refused(console):
    async def shout():
        async with connect(console) as page:
            await page.send("x" * (MOST_MESSAGE_BYTES + 1))
            with pytest.raises(ConnectionClosed) as closed:
                await listen_on(page)
            return code(closed)

    assert asyncio.run(shout()) == 1009
    own: Any = {"Origin": f"http://127.0.0.1:{port_of(console)}", "Content_Type": "application/json"}
    answer, _ = ask(console, "POST", "/api/login", "x" * 70_000, raw=True, **own)
    assert answer.status == 413
    assert alive(console)


def test_nonsense_is_answered_and_then_cut_off(console):
    async def babble():
        async with connect(console) as page:
            await page.send("[" * 10_000)
            first = await until(page, "error")
            with pytest.raises(ConnectionClosed) as closed:
                await listen_on(page, '{"type": "hand", "seq": NaN}', 40)
            return first["error"], code(closed)

    assert asyncio.run(babble()) == ("not JSON", 1008)
    assert alive(console)


def test_a_flood_is_cut_off(console):
    async def flood():
        async with connect(console, role="adversary") as page:
            with pytest.raises(ConnectionClosed):
                await listen_on(page, '{"type": "ping", "time": 1.0}', 3000)

    asyncio.run(flood())
    assert alive(console)
    assert any("sends far too much" in text for _, _, text in console.desk.notices)


def test_a_page_finds_the_clock_and_the_server_believes_no_impossible_time(console):
    async def ping():
        async with connect(console) as page:
            clock = MonotonicClock()
            sent = clock.now()
            await page.send(json.dumps({"type": "ping", "time": sent}))
            pong = await until(page, "pong")
            back = clock.now()
            await page.send(json.dumps({"type": "clock", "offset": 0.25, "rtt": 0.002}))
            (person,) = [p for p in console.desk.people() if p.role == "operator"]
            for _ in range(100):  # a state may have been on its way already
                await until(page, "state")
                if person.clock is not None:
                    break
            return sent, pong["server"], back, person.clock

    sent, server, back, clock = asyncio.run(ping())
    assert sent <= server <= back, "page and server run on one machine here, and its clock is the server's"
    assert clock is not None
    assert clock.offset_s == 0.25
    assert clock.to_server(10.0, now=10.3) == 10.25
    assert clock.to_server(10.0, now=5.0) is None, "the future"
    assert clock.to_server(10.0, now=100.0) is None, "long ago"


def test_an_adversary_s_motion_and_lease_are_refused_at_the_door(console):
    async def try_it():
        async with connect(console, role="adversary") as page:
            await page.send('{"type": "control", "take": true}')
            first = await until(page, "error")
            await page.send('{"type": "wish", "what": "start"}')
            second = await until(page, "error")
            await page.send('{"type": "act", "number": 1, "time": 1, "kind": "MOVE_OBJ", "target": "kiwi"}')
            third = await until(page, "result")
            return first["error"], second["error"], third

    first, second, third = asyncio.run(try_it())
    assert "moves nothing" in first
    assert "only a tele-operator can start" in second
    assert third == {"type": "result", "number": 1, "accepted": False, "reason": "nothing is being recorded"}
    assert console.desk.take_wishes() == []


# -- tokens ------------------------------------------------------------------------------------------------------


def token(console, role):
    return json.loads(console.config.tokens.read_text())[role]


def login(console, given):
    own: Any = {"Origin": f"http://127.0.0.1:{port_of(console)}", "Content_Type": "application/json"}
    return ask(console, "POST", "/api/login", {"token": given}, **own)


def test_tokens_are_made_for_the_owner_alone(guarded):
    mode = stat.S_IMODE(guarded.config.tokens.stat().st_mode)
    assert mode == 0o600
    assert len({token(guarded, role) for role in ROLES}) == 3


def test_without_or_with_a_wrong_token_nobody_comes_in(guarded):
    right = token(guarded, "operator")
    assert asyncio.run(hello(guarded)) == 403
    for wrong in ("", "x", right.swapcase(), right + "x", right[:-1], "x" * 10_000):
        answer, data = login(guarded, wrong)
        assert answer.status == 401, wrong[:30]
        assert "set-cookie" not in answer.headers
        assert right.encode() not in data
    bearer = {"Authorization": "Bearer " + right[:-1]}
    assert asyncio.run(hello(guarded, origin=None, additional_headers=bearer)) == 403
    assert asyncio.run(hello(guarded, additional_headers={"Cookie": "robolearn_session=" + "x" * 43})) == 403
    assert ask(guarded, "GET", "/api/review")[0].status == 401
    assert ask(guarded, "GET", f"/api/review?token={right}")[0].status == 401, "a token in an address is none"
    answer, _ = ask(guarded, "POST", "/api/login", "[" * 5000, raw=True, Content_Type="application/json",
                    Origin=f"http://127.0.0.1:{port_of(guarded)}")  # fmt: skip
    assert answer.status == 400


def test_a_token_opens_its_own_role_and_no_other(guarded):
    answer, data = login(guarded, token(guarded, "adversary"))
    assert json.loads(data) == {"role": "adversary"}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    session = {"Cookie": cookie.partition(";")[0]}
    found = asyncio.run(hello(guarded, role="adversary", additional_headers=session))
    assert found["you"] == {"id": "adversary 1", "role": "adversary"}
    assert asyncio.run(hello(guarded, role="operator", additional_headers=session)) == 403
    assert (
        asyncio.run(hello(guarded, role="adversary", origin="http://evil.example", additional_headers=session)) == 403
    )
    bearer = {"Authorization": "Bearer " + token(guarded, "operator")}
    assert asyncio.run(hello(guarded, origin=None, additional_headers=bearer))["you"]["role"] == "operator"


def test_other_addresses_need_a_token_and_tls():
    with pytest.raises(BenchError, match=r"Refusing to listen on 0\.0\.0\.0 without a token file and a TLS"):
        listen(0, "0.0.0.0")
    with pytest.raises(BenchError, match=r"without a TLS certificate"):
        listen(0, "0.0.0.0", token=True)
    with pytest.raises(BenchError, match=r"without a token file and a TLS"):
        ConsoleConfig(port=0, address="0.0.0.0").build(MonotonicClock()).start()
    with pytest.raises(BenchError, match=r"without a token file"):
        listen(0, "::", tls=True)
    assert [is_loopback(a) for a in ("127.0.0.1", "127.9.9.9", "localhost", "[::1]", "0.0.0.0", "10.0.0.1", "a.b")] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip


def test_bad_token_files_are_refused(tmp_path):
    path = tmp_path / "tokens.json"
    path.write_text("{}")
    path.chmod(0o644)
    with pytest.raises(BenchError, match="chmod 600"):
        Access.from_file(path, ROLES)
    path.chmod(0o600)
    with pytest.raises(BenchError, match="expected one token each for operator, adversary, viewer"):
        Access.from_file(path, ROLES)
    with pytest.raises(BenchError, match="at least 22"):
        Access({"operator": "short"})
    with pytest.raises(BenchError, match="two are equal"):
        Access({"operator": "x" * 30, "viewer": "x" * 30})


def test_tls_needs_both_files_and_serves_with_them(tmp_path):
    with pytest.raises(BenchError, match="found one of them"):
        ConsoleConfig(port=0, certificate=tmp_path / "c.pem").build(MonotonicClock()).start()
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "k.pem", "-out", "c.pem"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl command to make a certificate with")
    config = ConsoleConfig(port=0, tokens=tmp_path / "t", certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    with config.build(MonotonicClock()) as console:
        trust = ssl.create_default_context(cafile=str(tmp_path / "c.pem"))
        port = port_of(console)
        line = http.client.HTTPSConnection("localhost", port, context=trust, timeout=20)
        line.request("POST", "/api/login", json.dumps({"token": token(console, "viewer")}),
                     {"Origin": f"https://localhost:{port}", "Content-Type": "application/json"})  # fmt: skip
        answer = line.getresponse()
        assert answer.status == 200
        assert "Secure" in answer.headers["set-cookie"]
        line.close()


def memory_kb():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0
