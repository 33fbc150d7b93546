"""The house stays a house: imports point one way, files stay small, names say something."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("robolearn", "teleop", "hardware", "sim", "policies")
L0 = {"errors", "specs", "episode", "contracts", "clock", "geometry", "task"}
L1 = {
    "arm",
    "safety",
    "bench",
    "remote",
    "compose",
    "ahead",
    "rollout",
    "recorder",
    "observers",
    "plugins",
    "runs",
    "trained",
    "intervals",
    "serving",
    "data",
    "scene",
}
L2 = {"diffusion", "learn", "keypoints"}
L3 = {"stages", "cli", "verbs", "report"}
LEAVES = {"teleop", "hardware", "sim", "policies"}
NO_TORCH = {"teleop", "hardware", "sim"}
TORCH = {"torch", "diffusers", "safetensors", "tensorboard", "torchvision"}


def level(module: str) -> int:
    """Layer of a module name such as "robolearn.data.store" or "sim.world"; foreign modules have none."""
    top, _, rest = module.partition(".")
    if top in LEAVES:
        return 3
    room = rest.partition(".")[0]
    if not room:
        return 0  # the package itself: version only
    for layer, rooms in enumerate((L0, L1, L2, L3)):
        if room in rooms:
            return layer
    raise AssertionError(f"robolearn.{room} belongs to no layer; add it to one in DESIGN order")


def room(module: str) -> str:
    top, _, rest = module.partition(".")
    return top if top in LEAVES else "robolearn." + rest.partition(".")[0]


def imports(path: Path, module: str) -> list[str]:
    """Absolute names of everything a file imports, inside functions too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join(parts[: len(parts) - node.level + 1] + ([base] if base else []))
            if base == "robolearn":
                found += [f"robolearn.{alias.name}" for alias in node.names if not alias.name.startswith("_")]
            else:
                found.append(base)
    return found


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sibling_leaves(here: str, there: str) -> bool:
    return here != there and bool(LEAVES & {here, there})


def violations(path: Path, module: str) -> list[str]:
    """Every import of a file that points down the page or into a sibling leaf."""
    wrong = []
    for target in imports(path, module):
        top = target.partition(".")[0]
        if top in PACKAGES:
            if level(target) > level(module):
                wrong.append(f"{module} (layer {level(module)}) imports {target} (layer {level(target)})")
            elif level(module) == level(target) == 3 and sibling_leaves(room(module), room(target)):
                wrong.append(f"{module} imports its sibling {target}")
        elif top in TORCH and (level(module) < 2 or room(module) in NO_TORCH):
            wrong.append(f"{module} imports {target}, but its room is without torch")
    return wrong


@pytest.mark.parametrize("path", files(*PACKAGES), ids=name)
def test_imports_point_up_the_page(path: Path):
    assert not violations(path, name(path))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("robolearn.rollout", "import sim.world"),
        ("robolearn.specs", "from robolearn import rollout"),
        ("robolearn.data.store", "def f():\n    import torch"),
        ("sim.world", "from policies.diffusion import DiffusionConfig"),
        ("sim.world", "import torch.nn"),
        ("robolearn.stages.evaluate", "from sim import env"),
    ],
)
def test_the_import_check_can_fail(tmp_path: Path, module: str, source: str):
    bad = tmp_path / "bad.py"
    bad.write_text(source)
    assert violations(bad, module)


def test_policies_package_imports_nothing():
    """A robot PC uses policies.remote without torch."""
    tree = ast.parse((ROOT / "policies" / "__init__.py").read_text())
    assert all(isinstance(node, ast.Expr) for node in tree.body)


@pytest.mark.parametrize("folder", ["launch", "tests"])
def test_folders_of_files_are_no_packages(folder: str):
    assert not list((ROOT / folder).rglob("__init__.py")), "ROS 2 owns the import name 'launch'"


@pytest.mark.parametrize("path", files(*PACKAGES, "launch", "tests", "benchmarks"), ids=name)
def test_files_stay_small(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= 600, f"{path.relative_to(ROOT)} has {lines} lines; split it"


@pytest.mark.parametrize("path", files(*PACKAGES, "launch", "tests", "benchmarks"), ids=name)
def test_names_say_something(path: Path):
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}


@pytest.mark.parametrize("path", files(*PACKAGES, "launch", "benchmarks"), ids=name)
def test_nothing_is_unpickled_or_evaluated(path: Path):
    banned = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    tree = ast.parse(path.read_text())
    assert not banned & {target.partition(".")[0] for target in imports(path, name(path))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "torch.load", "yaml.load", "time.time"}, called
            for keyword in node.keywords:
                assert not (keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False")
        elif isinstance(node, ast.ExceptHandler):
            assert node.type is not None, "a bare except hides bugs"
            assert ast.unparse(node.type) != "Exception", "name what you expect"


def test_type_checker_checks_us():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    assert "robolearn" in config["strict"]
    assert set(PACKAGES) <= set(config["include"])


def test_every_pin_is_exact_and_every_dependency_is_pinned():
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    assert all("==" in pin for pin in pins)
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [d for extra in project["optional-dependencies"].values() for d in extra]
    names = {"".join(c for c in d if c.isalnum() or c in "-_<>=.").split(">")[0].split("=")[0].lower() for d in wanted}
    names = {name.replace("_", "-") for name in names}
    assert names <= pinned, f"not in constraints.txt: {sorted(names - pinned)}"
