import hashlib
import json
import re
from pathlib import Path

import pytest

from robolearn import specs
from robolearn.arm.task_space import DISPLACEMENT_SPEC

BENCHES = Path(__file__).resolve().parents[2] / "launch" / "benches"
SEEN = {name: specs.ArraySpec((3,), unit="m", frame="base", names=("x", "y", "z")) for name in ("tool", "cube")}
SEEN = {f"{name}.position": spec for name, spec in SEEN.items()}


@pytest.fixture
def patient_bench(tmp_path):
    """A bench file for real time on a machine that is busy with other things: only times differ, and the horizon."""

    def make(name: str, horizon: int) -> Path:
        text = (BENCHES / f"{name}.toml").read_text()
        text = re.sub(r"^stale_s = \{.*\}", lambda m: re.sub(r" = [\d.]+", " = 1.5", m[0]), text, flags=re.MULTILINE)
        text = text.replace("lost_s = 1.0", "lost_s = 5.0").replace("horizon = 100", f"horizon = {horizon}")
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return path

    return make


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A one-step policy that leads the tool to the cube, written as `robolearn export` writes one."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: exported policies stay untested on a bench")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: exported policies stay untested")
    folder = tmp_path_factory.mktemp("exported")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT

    def value(name, *shape):
        return helper.make_tensor_value_info(name, number, ["rows", *shape])

    def constant(name, values):
        return helper.make_tensor(name, number, [len(values)], values)

    nodes = [
        helper.make_node("Sub", ["observation.cube.position", "observation.tool.position"], ["gap"]),
        helper.make_node("Clip", ["gap", "least", "most"], ["step"]),
        helper.make_node("Mul", ["step", "still"], ["turn"]),
        helper.make_node("Concat", ["step", "turn"], ["arm.delta"], axis=2),
        helper.make_node("ReduceMean", ["turn"], ["middle"], axes=[2], keepdims=1),
        helper.make_node("Sub", ["middle", "one"], ["gripper.command"]),
    ]
    limits = [helper.make_tensor(name, number, [], [v]) for name, v in (("least", -0.02), ("most", 0.02))]
    graph = helper.make_graph(
        nodes,
        "reach",
        [*(value(f"observation.{name}", 1, 3) for name in SEEN), value("noise", 1, 7)],
        [value("arm.delta", 1, 6), value("gripper.command", 1, 1)],
        [*limits, constant("still", [0.0] * 3), constant("one", [1.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "policy.onnx"))
    digest = hashlib.sha256((folder / "policy.onnx").read_bytes()).hexdigest()
    facts = {"history": 1, "chunk": 1, "noise_shape": [1, 7], "sha256": digest}
    (folder / "export.json").write_text(json.dumps(facts))
    sides = {"observation": SEEN, "action": DISPLACEMENT_SPEC}
    (folder / "specs.json").write_text(json.dumps({side: specs.to_json(spec) for side, spec in sides.items()}))
    return folder
