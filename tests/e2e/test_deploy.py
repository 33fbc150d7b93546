"""Deployment as a user runs it: processes, sockets, signals, real time. Machines may be busy, so times have room."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from robolearn.bench.file import read_bench
from robolearn.bench.live import open_bench
from robolearn.clock import MonotonicClock
from robolearn.compose import Chunked
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.errors import SafetyFault
from robolearn.remote.client import PolicyLost, RemoteConfig
from robolearn.remote.server import ServerConfig
from robolearn.verbs.deploy import run

ROOT = Path(__file__).resolve().parents[2]
BENCHES = ROOT / "launch" / "benches"
NET = f"127.{20 + (os.getpid() >> 8) % 200}.{os.getpid() % 250 + 1}"
CLI = [sys.executable, "-m", "robolearn.cli"]


def patient(text: str) -> str:
    """A bench file for a machine that is busy with other things: only the times differ."""
    text = re.sub(r"^stale_s = \{.*\}", lambda m: re.sub(r" = [\d.]+", " = 1.5", m[0]), text, flags=re.MULTILINE)
    return text.replace("lost_s = 1.0", "lost_s = 5.0")


@pytest.fixture
def panda(tmp_path):
    path = tmp_path / "panda_twin.toml"
    path.write_text(patient((BENCHES / "panda_twin.toml").read_text()))
    return path


def test_a_person_deploys_records_and_interrupts(panda, tmp_path):
    store = tmp_path / "store"
    command = [*CLI, "deploy", "expert", "--bench", str(panda), "--episodes", "50", "--record", str(store)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        time.sleep(0.8)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert lines[0].startswith("expert of lift on panda_twin at 20 Hz")
    assert "episode 1 of 50: " in lines[1], (lines, out, error)
    assert process.returncode == 130
    assert "Interrupted" in error
    assert "Traceback" not in error
    with Store.open(store) as kept:
        outcomes = [kept.info(id).outcome for id in kept.ids()]
    assert len(outcomes) >= 2
    assert outcomes[-1] is Outcome.ABORTED


class Nudge:
    """A chunk model that moves the tool a little; a test decides when it stops answering."""

    def __init__(self, env, hangs_after=10**9):
        self.observation_spec = {"tool.position": env.observation_spec["tool.position"]}
        self.action_spec, self.history, self.chunk = env.action_spec, 1, 1
        self.calls, self._hangs_after, self.go_on = 0, hangs_after, threading.Event()

    def predict(self, observations, noise):
        self.calls += 1
        if self.calls > self._hangs_after:
            self.go_on.wait(20)
        delta = np.zeros((len(noise), 1, 6))
        delta[..., 1] = 0.01
        return {"arm.delta": delta, "gripper.command": np.full((len(noise), 1, 1), -1.0)}


def test_a_policy_server_that_hangs_leaves_the_arm_at_rest(panda):
    clock = MonotonicClock()
    with open_bench(read_bench(panda), clock) as live:
        model = Nudge(live.env, hangs_after=12)
        with ServerConfig(port=0).build(model, name="nudge") as server:
            address = f"ws://127.0.0.1:{server.port}"
            with RemoteConfig(address, deadline_s=0.5).build(clock) as remote:
                remote.require_fit(live.env.observation_spec, live.env.action_spec)
                with pytest.raises(PolicyLost, match="did not answer"):
                    run(live, Chunked(remote, 1), [1, 2, 3], clock)
            model.go_on.set()
        clock.sleep_until(clock.now() + 0.5)
        q = live.gate.read().arrays["arm.q"]
        clock.sleep_until(clock.now() + 1.0)
        np.testing.assert_allclose(live.gate.read().arrays["arm.q"], q, atol=2e-3)


@pytest.fixture(scope="module")
def ur(tmp_path_factory):
    """A UR5e twin in a process of its own, and a bench file for it."""
    pytest.importorskip("rtde_control", reason="ur_rtde is not installed: deployment on a UR stays untested")
    from hardware.twin_process import TwinProcess

    text = patient((BENCHES / "ur5e_twin.toml").read_text()).replace("127.0.0.1", f"{NET}.7")
    old, home = "[-0.3024, -1.684, 1.9559, -1.8427, -1.5708, -1.8732]", "[0.0, -1.57, 1.57, -1.57, -1.57, 0.0]"
    text = text.replace(old, home)
    text = text.replace('gripper = "robotiq"\n', "").replace("stale_s = 0.1  ", "stale_s = 1.0  ")
    for name in ("10.0", "200.0", "20000.0"):
        text = text.replace(f', "gripper.command" = {name} ', " ")
    folder = tmp_path_factory.mktemp("ur")
    (folder / "ur5e_twin.toml").write_text(text)
    shadow = patient((BENCHES / "ur5e_mujoco.toml").read_text()).replace(old, home)
    (folder / "ur5e_mujoco.toml").write_text(shadow)
    with TwinProcess("ur", address=f"{NET}.7") as twin:
        yield twin, read_bench(folder / "ur5e_twin.toml")


class Push:
    """Moves the tool along y for some steps."""

    observation_spec = {}

    def __init__(self, env, steps):
        self.action_spec, self._steps = env.action_spec, steps

    def reset(self, seeds, rows):
        self.k = 0

    def act(self, observation):
        self.k += 1
        delta = np.zeros((1, 6))
        delta[:, 1] = 0.02
        over = Outcome.SUCCESS if self.k >= self._steps else Outcome.RUNNING
        action = {name: np.zeros((1, *spec.shape)) for name, spec in self.action_spec.items()}
        return action | {"arm.delta": delta, "note.outcome": np.array([over], np.int8)}


def test_in_shadow_the_real_protocol_gets_no_command(ur):
    twin, file = ur
    before = twin.command("state")
    with open_bench(file, MonotonicClock(), shadow=True) as live:
        (one,) = run(live, Push(live.env, 20), [1], MonotonicClock())
        seen = live.env.observe().arrays
    after = twin.command("state")
    assert one.outcome is Outcome.SUCCESS
    assert not after["playing"], "a control program was started on the arm that only reports"
    assert after["inputs"] == before["inputs"]
    assert np.abs(seen["arm.q"] - seen["real.arm.q"]).max() > 0.02


def test_a_displacement_moves_the_ur_along_the_benchs_axes_and_a_protective_stop_ends_it(ur):
    twin, file = ur
    clock = MonotonicClock()
    with open_bench(file, clock) as live:
        start = live.gate.read().arrays["tool.position"]
        run(live, Push(live.env, 10), [1], clock)
        moved = live.gate.read().arrays["tool.position"] - start
        assert moved[1] > 0.03
        assert np.abs(moved[[0, 2]]).max() < 0.3 * moved[1]
        stop = threading.Timer(0.7, lambda: twin.command("protective_stop"))
        stop.start()
        with pytest.raises(SafetyFault, match="protective stop"):
            run(live, Push(live.env, 200), [2], clock)
        stop.join()
        assert live.gate.fault
