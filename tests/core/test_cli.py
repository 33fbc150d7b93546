import subprocess
import sys

import pytest

from robolearn import cli


def run(capsys, *arguments):
    try:
        code = cli.run(arguments)
    except SystemExit as stopped:  # tyro's way of refusing flags
        code = int(stopped.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_overview_names_every_verb(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert all(verb in out for verb in cli.VERBS)


@pytest.mark.parametrize("verb", [v for v in cli.VERBS if v != "run"])
def test_every_verb_explains_itself(capsys, verb):
    code, out, _ = run(capsys, verb, "--help")
    assert code == 0
    assert "usage: robolearn" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "Unknown verb 'trian'. Did you mean 'train'?"),
        (("data", "inport"), "Unknown data command 'inport'. Did you mean 'import'?"),
        (("data", "get", "lift-hp"), "Unknown dataset 'lift-hp'. Did you mean 'lift-ph'?"),
        (("record", "--store", "x", "--task", "left"), "Unknown env plugin 'left'. Did you mean 'lift'?"),
        (("run", "launch/nothing.py"), "Unknown recipe 'launch/nothing.py'."),
        (("data", "info", "nowhere"), "nowhere"),
        (("replay", "--store", "nowhere"), "nowhere"),
        (("evaluate", "--out", "x", "--checkpoint", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_one_paragraph_and_an_exit_code(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 1
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_a_mistyped_flag_names_the_closest(capsys):
    code, _, err = run(capsys, "train", "--store", "x", "--out", "y", "--policy.horizn", "8")
    assert code == 2
    assert "--policy.horizon" in err


def test_plugin_fields_follow_the_plugin(capsys):
    _, out, _ = run(capsys, "train", "--policy", "regression", "--help")
    assert "--policy.width" in out
    assert "--policy.sample-steps" not in out
    _, out, _ = run(capsys, "train", "--help")
    assert "--policy.sample-steps" in out


def test_help_imports_nothing_heavy():
    code = "import sys; from robolearn import cli; cli.run(['--help']); print({'torch', 'mujoco'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")


def test_ctrl_c_says_that_nothing_is_lost(capsys, monkeypatch):
    from robolearn.verbs import doctor

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    code, _, err = run(capsys, "doctor")
    assert code == 130
    assert "What was saved before is intact" in err


def test_the_doctor_finds_this_machine_fit(capsys):
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert "The main job can run here." in out
    assert "rendering" in out


def test_the_doctor_names_what_is_missing(capsys, monkeypatch):
    from robolearn.verbs import doctor

    monkeypatch.setitem(doctor.PACKAGES, "sim", ("mujoco", "no-such-package"))
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "MISSING  sim" in out
    assert "no-such-package" in out
    assert '".[sim]"' in out
