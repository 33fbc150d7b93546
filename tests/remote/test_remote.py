"""The wire, the server and the client over real sockets on this computer's loopback."""

import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.typing import Origin, Subprotocol

from robolearn.compose import Chunked
from robolearn.errors import BenchError, CheckpointMismatch, SpecError
from robolearn.remote.client import PolicyLost, RemoteConfig
from robolearn.remote.server import ServerConfig
from robolearn.remote.wire import WireError, pack, pack_arrays, unpack, unpack_arrays
from robolearn.specs import ArraySpec

TOKEN = "0123456789abcdef"
OBSERVATION = {"arm.q": ArraySpec((3,), unit="rad"), "wrist.rgb": ArraySpec((4, 5, 3), "uint8")}
ACTION = {"arm.delta": ArraySpec((6,), low=-1.0, high=1.0)}


class Model:
    """Answers with the sum of what it saw and a number drawn from the noise, after a pause that a test may set."""

    observation_spec, action_spec, history, chunk = OBSERVATION, ACTION, 2, 4

    def __init__(self):
        self.pause_s, self.calls = 0.0, 0
        self.gate: threading.Event | None = None

    def predict(self, observations, noise):
        self.calls += 1
        if self.gate is not None:
            self.gate.wait(10)
        time.sleep(self.pause_s)
        seen = observations["arm.q"].sum(axis=(1, 2)) + observations["wrist.rgb"].astype(float).mean(axis=(1, 2, 3, 4))
        drawn = np.array([np.random.default_rng(int(n)).uniform() for n in noise])
        steps = np.arange(4)[None, :, None]
        return {"arm.delta": 1e-3 * (seen + drawn)[:, None, None] + 1e-4 * steps + np.zeros((len(noise), 4, 6))}


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def server(model):
    with ServerConfig(port=0, token=TOKEN).build(model, name="test", fingerprint="abc") as running:
        yield running


def client(server, **fields):
    return RemoteConfig(f"ws://127.0.0.1:{server.port}", **({"token": TOKEN, "deadline_s": 5.0} | fields)).build()


def observations(rng, rows=1):
    return {
        "arm.q": rng.normal(size=(rows, 2, 3)),
        "wrist.rgb": rng.integers(0, 255, (rows, 2, 4, 5, 3)).astype(np.uint8),
    }


def test_a_remote_model_gives_the_same_bits_as_one_in_this_process(server, model):
    rng = np.random.default_rng(0)
    with client(server) as remote:
        assert remote.observation_spec == OBSERVATION
        assert remote.action_spec == ACTION
        assert (remote.history, remote.chunk, remote.name, remote.fingerprint) == (2, 4, "test", "abc")
        for rows in (1, 3):
            seen, noise = observations(rng, rows), rng.integers(2**63, size=rows).astype(np.uint64)
            np.testing.assert_array_equal(
                remote.predict(seen, noise)["arm.delta"], model.predict(seen, noise)["arm.delta"]
            )
        played = [Chunked(remote, 1), Chunked(Model(), 1)]
        for policy in played:
            policy.reset([7], [0])
        for _ in range(9):
            one = {name: value[:, 0] for name, value in observations(rng).items()}
            a, b = (policy.act(one)["arm.delta"] for policy in played)
            np.testing.assert_array_equal(a, b)


def test_four_clients_at_once_lose_and_cross_nothing(server):
    wrong, done = [], []

    def work(seed):
        rng = np.random.default_rng(seed)
        with client(server) as remote:
            for _ in range(100):
                seen, noise = observations(rng), rng.integers(2**63, size=1).astype(np.uint64)
                answer = remote.predict(seen, noise)["arm.delta"]
                if not np.array_equal(answer, Model().predict(seen, noise)["arm.delta"]):
                    wrong.append(seed)
                done.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(done) == 400
    assert server.served == 400


def test_who_comes_while_the_model_works_is_told_at_once_and_asks_again(server, model):
    model.gate = threading.Event()
    rng = np.random.default_rng(0)
    seen, noise = observations(rng), np.zeros(1, np.uint64)
    with client(server) as first, client(server, deadline_s=0.15) as second, client(server) as third:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(first.predict(seen, noise)))
        thread.start()
        while not model.calls:
            time.sleep(0.001)
        with pytest.raises(PolicyLost, match="busy with others"):
            second.predict(seen, noise)
        assert second.busy >= 2
        later = threading.Thread(target=lambda: answers.append(third.predict(seen, noise)))
        later.start()
        while not third.busy:
            time.sleep(0.001)
        model.gate.set()
        thread.join()
        later.join()
        assert len(answers) == 2
        assert server.turned_away >= 3


def test_an_answer_that_comes_too_late_is_never_taken_for_the_next_one(server, model):
    rng = np.random.default_rng(1)
    with client(server, deadline_s=0.2) as remote:
        model.gate = threading.Event()
        old, new = observations(rng), observations(rng)
        with pytest.raises(PolicyLost, match=r"did not answer within 0.2 s"):
            remote.predict(old, np.zeros(1, np.uint64))
        model.gate.set()
        time.sleep(0.1)
        model.gate = None
        answer = remote.predict(new, np.ones(1, np.uint64))
        np.testing.assert_array_equal(answer["arm.delta"], Model().predict(new, np.ones(1, np.uint64))["arm.delta"])


def test_a_server_that_dies_is_noticed_at_once(model):
    with ServerConfig(port=0).build(model, name="test") as running:
        remote = client(running, token="")
        remote.predict(observations(np.random.default_rng(0)), np.zeros(1, np.uint64))
    with pytest.raises(PolicyLost, match="hung up"):
        remote.predict(observations(np.random.default_rng(0)), np.zeros(1, np.uint64))
    remote.close()
    remote.close()
    with pytest.raises(BenchError, match="No policy server answers"):
        RemoteConfig("ws://127.0.0.1:9", deadline_s=1.0).build()


def test_a_server_that_hangs_with_the_socket_open_costs_no_more_than_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        from robolearn.remote import client as module

        before = module._SETUP_S
        module._SETUP_S = 0.3
        try:
            start = time.monotonic()
            with pytest.raises(BenchError, match="No policy server answers"):
                RemoteConfig(f"ws://127.0.0.1:{silent.getsockname()[1]}").build()
            assert time.monotonic() - start < 5
        finally:
            module._SETUP_S = before


@pytest.mark.parametrize("token", ["", "0123456789abcdeX", TOKEN + "x"])
def test_without_the_token_nobody_comes_in(server, token):
    with pytest.raises(BenchError, match=r"refused us.*401"):
        client(server, token=token)


def test_a_browser_is_refused_and_so_is_one_client_too_many(model):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    with ServerConfig(port=0, clients=1).build(model, name="test") as running:
        address = f"ws://127.0.0.1:{running.port}"
        with pytest.raises(InvalidStatus, match="403"):
            connect(address, subprotocols=[Subprotocol("robolearn.policy.1")], origin=Origin("http://evil.example"))
        with RemoteConfig(address).build(), pytest.raises(BenchError, match=r"refused us.*503"):
            RemoteConfig(address).build()


def test_nothing_listens_to_strangers_without_a_token(model):
    with pytest.raises(BenchError, match=r"Refusing to serve a policy on 0\.0\.0\.0 without a token"):
        ServerConfig("0.0.0.0").build(model, name="test")
    with pytest.raises(BenchError, match="at least 16 characters"):
        ServerConfig(token="short").build(model, name="test")


def test_a_policy_for_another_bench_is_refused_by_the_first_difference(server):
    with client(server) as remote:
        remote.require_fit(OBSERVATION | {"more": ArraySpec((1,))}, ACTION)
        with pytest.raises(CheckpointMismatch, match=r"of its observations, 'wrist.rgb' is missing"):
            remote.require_fit({"arm.q": OBSERVATION["arm.q"]}, ACTION)
        degrees = {**OBSERVATION, "arm.q": ArraySpec((3,), unit="deg")}
        with pytest.raises(CheckpointMismatch, match=r"'arm.q' differs in unit: expected 'rad', found 'deg'"):
            remote.require_fit(degrees, ACTION)
        with pytest.raises(CheckpointMismatch, match=r"of its actions, 'arm.delta' differs in low"):
            remote.require_fit(OBSERVATION, {"arm.delta": ArraySpec((6,), low=-2.0, high=1.0)})


def raw(server):
    from websockets.sync.client import connect

    line = connect(
        f"ws://127.0.0.1:{server.port}",
        subprotocols=[Subprotocol("robolearn.policy.1")],
        additional_headers={"Authorization": f"Bearer {TOKEN}"},
    )
    line.recv()
    return line


GOOD = {
    "kind": "predict",
    "number": 1,
    "left_s": 1.0,
    "rows": 1,
    "arrays": pack_arrays(observations(np.random.default_rng(0))),
    "noise": pack_arrays({"noise": np.zeros(1, np.uint64)}),
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "open"}, "Unknown kind of request 'open'"),
        ({"left_s": float("nan")}, "left_s must be a number"),
        ({"left_s": "soon"}, "left_s must be a number"),
        ({"number": "one"}, "whole number under 'number'"),
        ({"rows": 0}, "rows must be a whole number"),
        ({"rows": 10**9}, "rows must be a whole number"),
        ({"rows": 2}, "must have shape"),
        ({"arrays": 3}, "expected a map of arrays"),
        ({"arrays": {}}, "missing"),
        ({"arrays": {"arm.q": 3}}, "is not an array"),
        ({"arrays": {"arm.q": {"dtype": "|O8", "shape": [1], "data": b"x"}}}, "has the type '|O8'"),
        ({"arrays": {"arm.q": {"dtype": "<f8", "shape": [1 << 40], "data": b""}}}, "needs 8796093022208 bytes"),
        ({"arrays": {"arm.q": {"dtype": "<f8", "shape": [-1], "data": b""}}}, "expected a list of sizes"),
        ({"arrays": {"arm.q": {"dtype": "<f8", "shape": [1], "data": b"1234567"}}}, "needs 8 bytes; found 7 bytes"),
        ({"arrays": pack_arrays({"arm.q": np.zeros((1, 2, 3))})}, "missing ['wrist.rgb']"),
        (
            {"arrays": pack_arrays(observations(np.random.default_rng(0)) | {"arm.q": np.full((1, 2, 3), np.nan)})},
            "must be finite",
        ),
        (
            {"arrays": pack_arrays(observations(np.random.default_rng(0)) | {"arm.q": np.zeros((1, 2, 3), "f4")})},
            "must be float64",
        ),
        ({"noise": pack_arrays({"noise": np.zeros(2, np.uint64)})}, "must have shape (1,)"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_its_reason_and_the_next_one_answered(server, change, says):
    with raw(server) as line:
        line.send(pack(GOOD | change))
        answer = unpack(line.recv(timeout=5))
        assert answer["kind"] == "refused"
        assert says in answer["reason"]
        line.send(pack(GOOD))
        assert unpack(line.recv(timeout=5))["kind"] == "actions"


class Canary:
    def __reduce__(self):
        return (open, ("canary", "w"))


def test_no_byte_of_the_network_runs_code(server, tmp_path, monkeypatch):
    import pickle  # noqa: TID251 - to be refused

    monkeypatch.chdir(tmp_path)
    with raw(server) as line:
        for payload in (pickle.dumps(Canary()), pickle.dumps(Canary(), 0), b"\x80\x04.", b"", b"\xc1", b"\xff" * 100):
            line.send(payload)
            assert unpack(line.recv(timeout=5))["kind"] == "refused"
        line.send(pack(GOOD | {"arrays": {"arm.q": {"dtype": "|O8", "shape": [1], "data": pickle.dumps(Canary())}}}))
        assert unpack(line.recv(timeout=5))["kind"] == "refused"
        line.send("text")
        assert unpack(line.recv(timeout=5))["kind"] == "refused"
    assert not (tmp_path / "canary").exists()


def test_a_message_that_is_too_large_ends_the_connection_and_no_other(server):
    from websockets.exceptions import ConnectionClosed

    with raw(server) as line, pytest.raises((ConnectionClosed, OSError)):  # noqa: PT012 - either may notice
        line.send(bytes(65 << 20))
        line.recv(timeout=10)
    with client(server) as remote:
        remote.predict(observations(np.random.default_rng(0)), np.zeros(1, np.uint64))


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_a_message_or_refused(data):
    try:
        message = unpack(data)
    except WireError:
        return
    assert isinstance(message["kind"], str)


@settings(max_examples=60)
@given(
    st.sampled_from(["float64", "float32", "uint8", "int64", "uint64", "bool", ">f8"]),
    st.lists(st.integers(0, 4), max_size=3),
    st.integers(0, 2**32),
)
def test_arrays_come_back_as_they_went(dtype, shape, seed):
    array = np.random.default_rng(seed).integers(0, 2, shape).astype(dtype)
    native = np.dtype(dtype).newbyteorder("=").name
    spec = {"x": ArraySpec(tuple(shape), native)}
    back = unpack_arrays(unpack(pack({"kind": "k", "a": pack_arrays({"x": array})}))["a"], spec, (), "test")["x"]
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable
    with pytest.raises(SpecError, match="cannot be sent"):
        pack_arrays({"x": np.array(["text"])})


def test_a_robots_computer_needs_no_torch():
    code = "import sys, robolearn.remote.client, robolearn.verbs.deploy; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
