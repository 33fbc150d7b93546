"""The page shows, plays and marks episodes in a real browser; it answers this machine and this page only."""

from __future__ import annotations

import dataclasses
import http.client
import importlib.util
import json
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from robolearn.data import web
from robolearn.data.edits import relabel
from robolearn.data.serve import build_app
from robolearn.data.store import Store
from robolearn.episode import Event
from robolearn.errors import BenchError, UnknownName
from robolearn.serving import listen

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[web]'")
pytest.importorskip("starlette", reason="starlette is not installed: pip install -e '.[web]'")


def _browser():
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browser = _browser()


@pytest.fixture
def store(tmp_path, make_episode):
    with Store.create(tmp_path / "s", durable=False) as made:
        for seed in range(3):
            base = make_episode(40, seed=seed, pictures=True)
            moved = Event("MOVE_OBJ", base.times[10], base.times[14], "human", "cube", {"dx": 0.1})
            refused = Event(
                "MOVE_OBJ", base.times[20], base.times[20], "rule", "cube", accepted=False, reason="grasped"
            )
            frames = np.zeros_like(base.observations["wrist.rgb"])
            frames[..., 0] = 6 * np.arange(41)[:, None, None]  # the row can be read from the picture
            seen = {**base.observations, "wrist.rgb": frames}
            made.append(dataclasses.replace(base, observations=seen, events=(moved, refused)))
    return Store.open(tmp_path / "s", durable=False)


@pytest.fixture
def server(store):
    listener = listen(0)
    port = listener.getsockname()[1]
    config = uvicorn.Config(build_app(store, port), log_level="warning", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield port
    running.should_exit = True
    thread.join()


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Host": f"127.0.0.1:{port}"} | {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def change(port, **wish):
    own = {"Origin": f"http://127.0.0.1:{port}", "Content_Type": "application/json"}
    answer, data = ask(port, "POST", "/api/edit", wish, **own)
    return answer.status, json.loads(data)


def test_it_listens_on_loopback_only_and_says_when_the_port_is_taken(server):
    with listen(0) as other:
        assert other.getsockname()[0] == "127.0.0.1"
    with pytest.raises(BenchError, match=rf"Cannot listen on 127\.0\.0\.1:{server} .* choose another --port"):
        listen(server)


def test_foreign_hosts_and_foreign_pages_are_refused(server, store):
    id = store.ids()[0]
    assert ask(server, "GET", "/api/episodes", Host="evil.example")[0].status == 403
    assert ask(server, "GET", "/", Host=f"evil.example:{server}")[0].status == 403
    assert ask(server, "GET", "/", Host=f"localhost:{server}")[0].status == 200
    wish = {"edit": "delete", "id": id}
    for headers in (
        {"Content_Type": "application/json"},  # no Origin
        {"Content_Type": "application/json", "Origin": "http://evil.example"},
        {"Content_Type": "application/json", "Origin": "null"},
        {"Content_Type": "application/json", "Origin": f"http://127.0.0.1:{server + 1}"},
        {"Content_Type": "text/plain", "Origin": f"http://127.0.0.1:{server}"},
    ):
        answer, data = ask(server, "POST", "/api/edit", wish, **headers)
        assert answer.status == 403, headers
        assert json.loads(data)["error"]
    assert ask(server, "GET", f"/api/edit?edit=delete&id={id}")[0].status == 405
    assert ask(server, "PUT", "/api/edit", wish)[0].status == 403
    store.refresh()
    assert id in store.ids()


def test_answers_carry_the_headers_that_keep_other_pages_out(server):
    answer, data = ask(server, "GET", "/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert b"http://" not in data, "nothing may come from another place"
    assert b"https://" not in data


def test_every_stream_event_and_picture_arrives(server, store):
    id = store.ids()[1]
    facts = json.loads(ask(server, "GET", f"/api/episodes/{id}")[1])
    episode = store[id]
    assert facts["times"] == pytest.approx((episode.times - episode.times[0]).tolist())
    by_name = {(s["kind"], s["name"]): s for s in facts["streams"]}
    np.testing.assert_allclose(by_name["observed", "arm.q"]["values"], episode.observations["arm.q"].T, rtol=1e-5)
    np.testing.assert_allclose(by_name["sent", "arm.delta"]["values"], episode.actions["arm.delta"].T, rtol=1e-5)
    assert ("requested", "arm.delta") in by_name
    assert [(e["kind"], e["accepted"]) for e in facts["events"]] == [("MOVE_OBJ", True), ("MOVE_OBJ", False)]
    film = ask(server, "GET", f"/api/episodes/{id}/film/wrist.rgb")[1]
    count = int.from_bytes(film[:4], "little")
    lengths = np.frombuffer(film[4 : 4 + 4 * count], "<u4")
    assert count == 41
    assert 4 + 4 * count + lengths.sum() == len(film)
    answer, picture = ask(server, "GET", f"/api/episodes/{id}/thumbnail")
    assert (answer.headers["content-type"], picture[:2]) == ("image/jpeg", b"\xff\xd8")
    answer, data = ask(server, "GET", "/api/episodes/nosuch")
    assert answer.status == 404
    assert "Unknown episode" in json.loads(data)["error"]
    assert ask(server, "GET", f"/api/episodes/{id}/film/arm.q")[0].status == 404


def test_every_stream_is_shown_at_its_own_rate(live):
    (id,) = live.ids()
    with Store.open(live.path) as store:
        relabel(store, id, operator="Bob")
    live.refresh()
    facts = web.episode_facts(live, id)
    assert (facts["meta"]["operator"], len(facts["times"])) == ("Bob", 31)
    by_name = {(s["kind"], s["name"]): s for s in facts["streams"]}
    joints = by_name["observed", "arm.q"]
    assert (joints["samples"], joints["rate_hz"]) == (601, 200.0)
    assert joints["times"] == pytest.approx(np.arange(601) / 200)
    assert joints["values"][1][333] == 9.0
    sent = by_name["sent", "arm.dq"]
    assert (sent["samples"], sent["times"][-1]) == (30, pytest.approx(2.9))
    assert [camera["name"] for camera in facts["cameras"]] == ["wrist.rgb", "wrist.depth"]
    for camera in facts["cameras"]:
        assert camera["times"] == pytest.approx(np.arange(86) * 7 / 200, abs=1e-6)
        film = web.film(live, id, camera["name"])
        lengths = np.frombuffer(film[4:348], "<u4")
        assert int.from_bytes(film[:4], "little") == len(lengths) == 86
        assert lengths.min() > 0
    assert (web.thumbnail(live, id) or b"")[:2] == b"\xff\xd8"
    with pytest.raises(UnknownName, match=r"Unknown camera 'arm\.q'"):
        web.film(live, id, "arm.q")


def test_a_long_stream_is_thinned_without_losing_its_peaks():
    times = np.arange(10_001) / 500
    values = np.stack([np.sin(times), np.zeros(10_001)], axis=1)
    values[7777, 1], values[1234, 1] = 5.0, -3.0
    shown, rows = web.thin(times, values, 400)
    assert len(shown) == len(rows) <= 402
    assert np.all(np.diff(shown) >= 0)
    assert (rows[:, 1].max(), rows[:, 1].min()) == (5.0, -3.0)
    assert abs(shown[int(rows[:, 1].argmax())] - times[7777]) < 0.1
    np.testing.assert_allclose(rows[:, 0], np.sin(shown), atol=0.06)
    assert web.thin(times, values, 20_000)[1] is values


def test_depth_is_shown_near_bright_and_unmeasured_black():
    depth = np.zeros((4, 100), np.uint16)
    depth[1:] = np.linspace(500, 1500, 100)
    limits = web.depth_limits(depth)
    assert limits is not None
    grey = web.depth_picture(depth, limits)
    assert np.all(grey[0] == 0)
    assert np.all(np.diff(grey[1, :, 0].astype(int)) <= 0)
    assert (grey[1, 0, 0], grey[1, -1, 0]) == (255, 40)
    assert web.depth_limits(np.zeros((2, 2), np.uint16)) is None


def test_edits_are_edits_of_the_manifest_and_the_lock_is_given_back(server, store):
    id = store.ids()[0]
    for wish, check in (
        ({"edit": "accept"}, lambda: store.tags_of(id) == {"accepted"}),
        ({"edit": "reject"}, lambda: store.tags_of(id) == {"rejected"}),
        ({"edit": "unmark"}, lambda: store.tags_of(id) == set()),
        ({"edit": "tag", "value": "nice"}, lambda: store.tags_of(id) == {"nice"}),
        ({"edit": "split", "value": "train"}, lambda: store.split_of(id) == "train"),
        ({"edit": "delete"}, lambda: id not in store.ids()),
        ({"edit": "undo"}, lambda: id in store.ids()),
    ):
        status, answer = change(server, id=id, **wish)
        assert status == 200, answer
        store.refresh()
        assert check(), wish
    assert change(server, edit="acept", id=id)[1]["error"].startswith("Unknown edit 'acept'. Did you mean 'accept'?")
    assert change(server, edit="tag", id=id)[0] == 409
    assert change(server, edit="accept", id="nosuch")[0] == 404
    with Store.open(store.path, durable=False) as other:
        other.tag(id, ["mine"])  # possible only when the page holds no lock
        status, answer = change(server, edit="accept", id=id)
        assert status == 409, "while another writes, the page says so"
        assert answer["error"]


def test_a_person_looks_plays_and_accepts_in_a_browser(server, store, tmp_path, monkeypatch):
    program = browser.find()
    if program is None:
        warnings.warn("SKIPPED the test of the web page: no Chromium", stacklevel=1)
        pytest.skip("no Chromium: apt-get install chromium")
    tab = browser.Browser(program, tmp_path / "profile")
    try:
        tab.go(f"http://127.0.0.1:{server}/")
        tab.until("document.body && document.body.dataset.ready", 60)
        first, second, _ = store.ids()
        assert tab.run("document.querySelectorAll('#list li').length") == 3
        assert tab.run("location.hash") == f"#{first}"
        names = tab.run("[...document.querySelectorAll('.plot h3')].map(e => e.firstChild.textContent)")
        assert {"arm.q", "arm.load", "gripper", "arm.delta", "value"} <= set(names)
        assert tab.until("[...document.querySelectorAll('#list img')].some(i => i.naturalWidth > 0)"), "thumbnails"
        red = "document.querySelector('figure canvas').getContext('2d').getImageData(9, 9, 1, 1).data[0]"
        key = "document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', bubbles: true}}))"
        for _ in range(20):
            tab.run(key.format("ArrowRight"))
        tab.until(f"Math.abs({red} - 120) < 8")  # the picture of row 20 beside the values of row 20
        assert "row 20" in tab.run("document.getElementById('now').textContent")
        shown = tab.run("document.querySelector('.plot .legend span span').textContent")
        assert float(shown) == pytest.approx(store[first].observations["arm.q"][20, 0], abs=1e-3)
        blank = tab.run(
            "[...document.querySelectorAll('.plot canvas, #timeline')].filter(c => "
            "!c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)).length"
        )
        assert blank == 0, "every plot is drawn"
        assert tab.run("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out sideways"
        tab.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 20_000
        tab.run("document.getElementById('accept').click()")
        tab.until("document.querySelector('#list .chip.accepted') !== null")
        tab.run(key.format("j"))
        tab.until(f"location.hash === '#{second}'")
        tab.run("document.getElementById('reject').click()")
        tab.until("document.querySelector('#list .chip.rejected') !== null")
        store.refresh()
        assert (store.tags_of(first), store.tags_of(second)) == ({"accepted"}, {"rejected"})
        assert tab.errors == []
    finally:
        tab.close()


def test_files_of_the_page_name_no_other_place():
    for path in (Path(__file__).resolve().parents[2] / "robolearn/data/page").iterdir():
        text = path.read_text()
        assert "http://" not in text, path.name
        assert "https://" not in text, path.name
        assert "innerHTML" not in text, f"{path.name}: names of episodes must never become markup"
