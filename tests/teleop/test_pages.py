"""Two people in two real browsers record, disturb, look at and keep one episode of the twin; the store has all of it.

The console means what it says about 200 ms, and a machine that runs other tests beside this one stalls for longer. So
the whole world is in slow motion here, the server's clock and the pages' timers alike: nobody has to hurry.
"""

import contextlib
import importlib.util
import json
import os
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from robolearn import plugins
from robolearn.clock import MonotonicClock
from robolearn.data.store import Store
from robolearn.episode import Actor, Outcome
from robolearn.errors import StaleReading
from teleop.console.console import ConsoleConfig

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install -e '.[teleop]'")

SLOW = float(os.environ.get("ROBOLEARN_SLOW_MOTION", "5"))
KEEP = os.environ.get("ROBOLEARN_SCREENSHOTS", "")
"""A folder for screenshots: then the pictures are large and their names are those of the documentation."""


def _browser():
    path = Path(__file__).resolve().parents[1] / "data" / "browser.py"
    spec = importlib.util.spec_from_file_location("browser", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browser = _browser()


@pytest.fixture
def program():
    found = browser.find()
    if found is None:
        warnings.warn("SKIPPED the test of the console's pages: no Chromium", stacklevel=1)
        pytest.skip("no Chromium: apt-get install chromium")
    return found


class SlowClock(MonotonicClock):
    """The machine's clock in slow motion."""

    def now(self):
        return super().now() / SLOW

    def sleep_until(self, deadline):
        super().sleep_until(deadline * SLOW)


SLOW_PAGE = f"""
(() => {{
  const now = performance.now.bind(performance), every = window.setInterval, after = window.setTimeout;
  performance.now = () => now() / {SLOW};
  window.setInterval = (work, ms, ...rest) => every(work, ms * {SLOW}, ...rest);
  window.setTimeout = (work, ms, ...rest) => after(work, ms * {SLOW}, ...rest);
}})();
"""


def open_page(program, profile, url):
    tab = browser.Browser(program, profile)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=SLOW_PAGE)
    tab.go(url)
    return tab


def wait(seconds):
    """Seconds of slow motion."""
    time.sleep(seconds * SLOW)


class Session(threading.Thread):
    """The command `record --operator web --adversary web` in a thread, patient with a busy machine."""

    def __init__(self, folder, **options):
        super().__init__(daemon=True)
        self.folder, self.options = folder, options
        self.ready, self.kept, self.error = threading.Event(), [], None
        self.console = ConsoleConfig(port=0).build(SlowClock())

    def run(self):
        from sim.bench import TwinBench
        from teleop.console.live import Live, LiveOptions

        clock, console = self.console.clock, self.console
        cameras = (("agent", 480, 360), ("wrist", 320, 240)) if KEEP else (("agent", 96, 72), ("wrist", 64, 48))
        task = plugins.load("env", "pick_place")().sim_task()
        env = TwinBench(task, clock, cameras=cameras, pictures_hz=8.0, stale_s=20.0, threads=True)
        try:
            with Store.create(self.folder, durable=False) as store, console:
                operator = plugins.load("teleop", "web")().operator(env, clock, console=console)
                adversary = plugins.load("adversary", "web")().build(env, console=console)
                options = LiveOptions(1, 7, operator="web", adversary="web", picture_s=10.0)
                live = Live(console, env, operator, store, clock, adversary, options)
                self.ready.set()
                self.kept = live.run()
                time.sleep(0.5)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ready.set()
            env.close()

    def stop(self):
        """End it, whatever it does: a thread that draws must not outlive the interpreter's modules."""
        desk = self.console.desk
        while self.is_alive():
            someone = desk.join("operator")
            for what in ("stop", "reject", "finish"):
                desk.wish(someone, what)
            desk.leave(someone)
            self.join(0.5)


def press(tab, key, kind="keydown"):
    tab.run(f"document.body.dispatchEvent(new KeyboardEvent('{kind}', {{key: '{key}', bubbles: true}}))")


def click(tab, id):
    tab.until(f"!document.getElementById('{id}').disabled && !document.getElementById('{id}').hidden")
    tab.run(f"document.getElementById('{id}').click()")


def shoot(tab, name, tmp_path):
    folder = Path(KEEP) if KEEP else tmp_path
    tab.screenshot(folder / f"{name}.png")
    assert (folder / f"{name}.png").stat().st_size > 20_000, "something is on the page"


def test_two_people_two_pages_one_episode(program, tmp_path):
    session = Session(tmp_path / "store")
    session.start()
    assert session.ready.wait(60)
    deadline = time.monotonic() + 60
    while not session.console.url and time.monotonic() < deadline:
        time.sleep(0.05)
    url = session.console.url
    operator = open_page(program, tmp_path / "one", f"{url}operator")
    adversary = open_page(program, tmp_path / "two", f"{url}adversary")
    try:
        for tab in (operator, adversary):
            tab.until("document.body && document.body.dataset.ready", 60)
            tab.until("document.body.dataset.phase === 'idle' && document.body.dataset.mode === 'HOLD'", 60)
            tab.until("[...document.querySelectorAll('.view canvas')].some(c => c.width > 32 && "
                      "c.getContext('2d').getImageData(9, 9, 1, 1).data[3])", 60)  # fmt: skip
            assert tab.run("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out sideways"
        text = operator.until("document.getElementById('words').textContent")
        assert text == adversary.run("document.getElementById('words').textContent")
        assert adversary.run("document.querySelector('[data-act=PUSH_ROBOT]').disabled"), (
            "in practice nothing is disturbed"
        )
        click(operator, "control")
        operator.until("document.getElementById('control').textContent === 'Give control back'")
        click(operator, "start")
        operator.until("document.body.dataset.phase === 'recording'", 60)
        operator.until("document.body.dataset.seen > 0", 60)

        # The person drives; on a busy machine a heartbeat may be late, and then the key is pressed again.
        for _ in range(60):
            press(operator, "s")
            moving = operator.run("new Promise(r => setTimeout(() => r(document.body.dataset.mode), 400))")
            if moving == "HUMAN":
                break
            press(operator, "s", "keyup")
        assert moving == "HUMAN", operator.run("document.getElementById('why').textContent")
        if KEEP:
            wait(0.5)
            shoot(operator, "console_operator", tmp_path)
        press(operator, "s", "keyup")

        # The other person moves a thing, and says something else.
        adversary.until("!document.querySelector('[data-act=PUSH_ROBOT]').disabled")
        adversary.run("document.querySelector('[data-act=PUSH_ROBOT]').click()")
        result = adversary.until("document.body.dataset.result")
        assert result == "1 true", adversary.run("document.getElementById('toasts').textContent")
        wait(1.1)  # between two acts
        adversary.until("!document.querySelector('#commands button:not([aria-current=true])').disabled", 30)
        old = operator.run("Number(document.body.dataset.seen)")
        adversary.run("document.querySelector('#commands button:not([aria-current=true])').click()")
        adversary.until("document.body.dataset.result?.startsWith('2 ')")
        assert adversary.run("document.body.dataset.result") == "2 true", adversary.run("document.body.textContent")
        told = operator.until(f"Number(document.body.dataset.seen) > {old} && "
                              "document.getElementById('words').textContent", 30)  # fmt: skip
        assert told != text
        assert told == adversary.until(f"document.getElementById('words').textContent === {json.dumps(told)} && "
                                       "document.getElementById('words').textContent")  # fmt: skip
        if KEEP:
            shoot(operator, "console_command", tmp_path)
        adversary.until("document.querySelector('#pairs td.untried') !== null")
        wait(1.1)
        adversary.until("!document.querySelector('[data-act=MOVE_OBJ]').disabled", 30)
        adversary.run("document.querySelector('[data-act=MOVE_OBJ]').click()")
        adversary.until("document.body.dataset.result && document.body.dataset.result.startsWith('3 ')")
        dense = adversary.until("!document.getElementById('density').hidden && "
                                "document.getElementById('density').textContent", 30)  # fmt: skip
        assert "new in this one" in dense
        adversary.run("document.querySelector('[data-layer=situations]').click()")
        assert "told thing" in adversary.run("document.getElementById('layer').textContent")
        adversary.run("document.querySelector('[data-layer=grid]').click()")
        shoot(adversary, "console_adversary", tmp_path)

        press(operator, "2")
        operator.until("document.body.dataset.review", 60)
        operator.until("document.querySelector('#films canvas').width > 32", 30)
        for _ in range(10):
            press(operator, "ArrowRight")
        at = operator.run("document.getElementById('at').textContent")
        assert not at.startswith("0.00 ")
        operator.run("document.getElementById('play').click()")
        wait(0.6)
        operator.run("document.getElementById('play').click()")
        shoot(operator, "console_review", tmp_path)
        said = operator.run("document.getElementById('said').textContent")
        assert "events" in said
        click(operator, "keep-success")
        session.join(60)
        assert not session.is_alive()
        assert session.error is None
        assert operator.errors == []
        assert adversary.errors == []
    finally:
        operator.close()
        adversary.close()
        session.stop()

    (id,) = session.kept
    with Store.open(tmp_path / "store", durable=False) as store:
        episode = store[id]
    assert episode.outcome is Outcome.SUCCESS
    assert episode.meta.instruction == text
    assert set(episode.actor.tolist()) == {Actor.OPERATOR}
    assert episode.notes["engaged"].any()
    assert np.abs(episode.actions["arm.delta"][:, 0]).max() > 0.005
    pushed, spoken = [e for e in episode.events if e.accepted and e.kind in ("PUSH_ROBOT", "SET_CMD")]
    assert (pushed.kind, pushed.source, pushed.params["person"]) == ("PUSH_ROBOT", "human", "adversary 1")
    # Pages and server run on one machine here, so a page's time plus its offset is the server's own.
    assert pushed.params["t_client"] + pushed.params["t_offset"] <= pushed.params["t_server"] + pushed.params["t_rtt"]
    assert spoken.params["instruction"] == told
    assert spoken.params["t_cmd"] <= spoken.params["t_seen"] < spoken.params["t_cmd"] + 2.0
    assert episode.observations["agent.rgb"].ptp() > 50


SLIP = {"targets": [], "params": {}, "budget": "slip", "at_start": False, "physical": False}
STATE = {
    "t": 0.0,
    "phase": "idle",
    "mode": "HOLD",
    "reason": "press the clutch to move",
    "kept": 0,
    "elapsed_s": 0.0,
    "gate": "",
    "budgets": {"slip": [0, 2]},
    "wait_s": 0.0,
    "events": [],
    "loop": {"hz": 20.0, "target_hz": 20.0, "late_ms": 0.0, "decision_ms": 0.1},
    "cameras": {},
    "instruction": {"text": "Put the kiwi into the basket.", "number": 1},
}


def test_it_fits_a_phone(program, tmp_path):
    console = ConsoleConfig(port=0).build(MonotonicClock())
    console.introduce(cameras=[], episodes=3, operator="web", acts={"SLIP": SLIP}, commands=["Put it down."])
    console.publish(STATE)
    with console:
        tab = browser.Browser(program, tmp_path / "phone")
        try:
            tab.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
            for page in ("operator", "adversary"):
                tab.go(f"{console.url}{page}")
                tab.until(f"location.pathname === '/{page}' && document.body && document.body.dataset.phase", 60)
                assert tab.run("document.documentElement.scrollWidth <= innerWidth"), page
                wide = tab.run("document.getElementById('halt').getBoundingClientRect().right <= innerWidth")
                assert wide, "the stop button is always in reach"
                shoot(tab, f"console_phone_{page}", tmp_path)
            assert tab.errors == []
        finally:
            tab.close()


FAKE_XR = """
(() => {
  // A phone whose place and turn are what `window.phone` says, null while it has lost track of the room.
  window.phone = { position: { x: 0, y: 0, z: 0 }, orientation: { w: 1, x: 0, y: 0, z: 0 } };
  class Session extends EventTarget {
    updateRenderState() {}
    async requestReferenceSpace(kind) { return kind; }
    requestAnimationFrame(work) {
      const frame = { getViewerPose: () => window.phone && { transform: window.phone } };
      setTimeout(() => work(performance.now(), frame), 16);
    }
  }
  window.XRWebGLLayer = class {};
  const xr = {
    isSessionSupported: async (mode) => mode === "immersive-ar",
    requestSession: async () => window.flight = new Session(),
  };
  Object.defineProperty(navigator, "xr", { value: xr });
})();
"""


def test_a_phone_in_the_air_is_a_hand(program, tmp_path):
    """The page's WebXR code, on a phone that a script plays: finger down is the clutch, lost tracking lets go."""
    console = ConsoleConfig(port=0).build(MonotonicClock())
    console.introduce(cameras=[], episodes=3, operator="phone", acts={}, commands=[])
    console.publish(STATE)

    def hand(held, at=None):
        """The newest hand once the clutch is as asked, at this place; beats and frames of a busy machine come late."""
        deadline, seen = time.monotonic() + 30, None
        while time.monotonic() < deadline:
            with contextlib.suppress(StaleReading):
                seen = console.desk.read_hand().arrays
                there = at is None or np.allclose(seen["hand.position"], at, atol=1e-6)
                if bool(seen["hand.enable"][0]) is held and there:
                    return seen
            time.sleep(0.02)
        raise AssertionError(f"the clutch never was {'held' if held else 'free'} at {at}, but {seen}")

    with console:
        tab = browser.Browser(program, tmp_path / "phone")
        try:
            tab.call("Page.addScriptToEvaluateOnNewDocument", source=FAKE_XR)
            tab.go(f"{console.url}operator")
            tab.until("document.body && document.body.dataset.ready", 60)
            click(tab, "control")
            click(tab, "fly")
            tab.until("window.flight !== undefined")
            # 10 cm away from the person, 20 cm to their right, 30 cm up; turned by 0.6 rad about the vertical.
            tab.run("window.phone = { position: { x: 0.2, y: 0.3, z: -0.1 }, "
                    f"orientation: {{ w: {np.cos(0.3)}, x: 0, y: {np.sin(0.3)}, z: 0 }} }}")  # fmt: skip
            hand(held=False)
            tab.run("document.body.dispatchEvent(new Event('touchstart', { bubbles: true }))")
            seen = hand(held=True, at=[0.1, -0.2, 0.3])
            np.testing.assert_allclose(seen["hand.quaternion"], [np.cos(0.3), 0, 0, np.sin(0.3)], atol=1e-6)
            tab.run("window.phone = null")
            hand(held=False)
            tab.run("window.phone = { position: { x: 0, y: 0, z: 0 }, orientation: { w: 1, x: 0, y: 0, z: 0 } }")
            time.sleep(0.3)
            hand(held=False)  # the finger is still down: it has to be lifted first
            tab.run("document.body.dispatchEvent(new Event('touchend', { bubbles: true }))")
            tab.run("document.body.dispatchEvent(new Event('touchstart', { bubbles: true }))")
            hand(held=True, at=[0, 0, 0])
            tab.run("window.flight.dispatchEvent(new Event('end'))")
            hand(held=False)
            assert tab.errors == []
        finally:
            tab.close()
