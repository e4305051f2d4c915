"""Who may know whom: the import directions of the package, and who may do without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mutualformer_sod"

EVERYONE = {
    *("", "errors", "files", "memory", "output_folder", "signals", "workers"),  # "": the version
}
ALLOWED = {
    "__init__": {"configs", "inference", "models"},
    "errors": set(),
    "files": set(),
    "memory": set(),
    "output_folder": set(),
    "signals": set(),
    "workers": set(),
    "imaging": set(),
    "metrics": {"imaging"},
    "report": {"metrics"},
    "configs": set(),
    "models": {"configs"},
    "losses": {"configs"},
    "data": {"configs", "imaging"},
    "distributed": {"models"},
    "inference": {"configs", "imaging", "data", "models", "distributed"},
    "training": {"configs", "imaging", "data", "models", "losses", "distributed"},
    "gallery": {"imaging", "data", "metrics", "report"},
    "benchmark": {"configs", "models"},
    "experiments": {
        *("configs", "imaging", "data", "models", "metrics", "report", "inference", "training"),
        "benchmark",
    },
    "serving": {"imaging", "inference"},
    "demo": {"imaging", "data", "models", "inference", "serving"},
}
TORCH_FREE = [
    "mutualformer_sod",
    "mutualformer_sod.cli.common",
    "mutualformer_sod.configs.model",
    "mutualformer_sod.configs.training",
    "mutualformer_sod.inference.baselines",
    "mutualformer_sod.files",
    "mutualformer_sod.gallery.cards",
    "mutualformer_sod.imaging.io",
    "mutualformer_sod.imaging.masks",
    "mutualformer_sod.data.modality",
    "mutualformer_sod.data.sample",
    "mutualformer_sod.data.depth.polarity",
    "mutualformer_sod.data.discovery.sets",
    "mutualformer_sod.data.packing.pack",
    "mutualformer_sod.data.synthetic.scenes",
    "mutualformer_sod.inference.picture_pairs",
    "mutualformer_sod.inference.video",
    "mutualformer_sod.demo.scratch",
    "mutualformer_sod.serving.access",
    "mutualformer_sod.metrics.evaluator",
    "mutualformer_sod.report.tables",
    "mutualformer_sod.experiments.collect",
    "mutualformer_sod.experiments.schedule",
]


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path):
    """Parts of the package that a file imports; '' is the package itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module]
            if node.module == "mutualformer_sod":
                names = [f"mutualformer_sod.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            assert top != "tools", f"{path} imports tools"
            if top == "mutualformer_sod":
                yield rest.split(".")[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_data_flows_one_way(path):
    part = part_of(path)
    foreign = set(imported_parts(path)) - {part} - EVERYONE
    if part in ("cli", "__main__"):  # the command line knows everything
        return
    assert foreign <= ALLOWED[part], f"{path.relative_to(ROOT)} imports {foreign - ALLOWED[part]}"


@pytest.mark.parametrize("module", TORCH_FREE)
def test_no_torch_is_imported(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_evaluation_runs_where_there_is_no_torch():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['timm'] = None;"
        "sys.argv = ['evaluate.py', '--help'];"
        "import runpy; runpy.run_path('tools/evaluate.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def private_names(path: Path) -> list[str]:
    """Return the names with an underscore that a test takes from the package, or patches there."""
    tree, own, found = ast.parse(path.read_text(encoding="utf-8")), set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mutualformer_sod"):
            own |= {alias.asname or alias.name for alias in node.names}
            found += [alias.name for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in own:
            found.append(node.attr)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "setattr":
            target, *rest = node.args
            if getattr(target, "id", None) in own:
                found += [getattr(arg, "value", "") for arg in rest[:1]]
            elif isinstance(target, ast.Constant) and target.value.startswith("mutualformer_sod"):
                found.append(target.value.rpartition(".")[2])
    return [name for name in found if name.startswith("_") and not name.endswith("__")]


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: p.name)
def test_tests_use_no_private_name_of_the_package(path):
    assert private_names(path) == []


def test_private_names_finds_imports_attributes_and_patches(tmp_path):
    (tmp_path / "test_x.py").write_text(
        "from mutualformer_sod.a import _b, c\n"
        "c._d()\n"
        "def test(monkeypatch):\n"
        "    monkeypatch.setattr(c, '_e', 1)\n"
        "    monkeypatch.setattr('mutualformer_sod.a._f', 1)\n"
        "    other._g, c.h, c.__doc__\n"
    )
    assert sorted(private_names(tmp_path / "test_x.py")) == ["_b", "_d", "_e", "_f"]
