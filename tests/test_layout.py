"""The house: imports point one way, what is public is documented, and what is installed is
complete."""

import ast
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from docs import draw
from tests import surface

ROOT = Path(__file__).parent.parent
MAY_IMPORT: dict[str, set[str]] = {
    "tensor": set(),
    "nn": {"tensor"},
    "minigen": {"tensor", "nn"},
    "examples": {"tensor", "nn", "minigen"},
}
MAY_USE: dict[str, set[str]] = {
    "words": set(),
    "progress": set(),
    "data": {"words", "progress"},
    "networks": set(),
    "models": {"networks"},
    "training": {"words", "progress", "data"},
    "evaluation": {"words", "data", "training"},
    "recipes": {"progress", "data", "networks", "models", "training", "evaluation"},
    "api": {"words", "data", "training", "evaluation", "recipes"},
    "commands": {"words", "api", "data", "training", "evaluation", "recipes"},
    "cli": {"__version__", "words", "progress", "api", "commands", "training", "recipes"},
    "testing": set(),
    "__main__": {"cli"},
    "__init__": {"api", "training"},
}
"""The packages of minigen, and what each may import besides itself."""

PACKAGES = ["tensor", "nn", "minigen"]
SOURCES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
PACKAGED = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in PACKAGES]


def module(path: Path) -> str:
    """tensor/ops.py as tensor.ops, nn/__init__.py as nn."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST) -> Iterator[str]:
    """The names of all modules, and of what is taken from them, that a file imports, wherever in
    it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_imports_point_one_way(path: Path) -> None:
    package = module(path).split(".")[0]
    reached = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
    assert reached & (MAY_IMPORT.keys() | {"tests"}) <= MAY_IMPORT[package] | {package}


@pytest.mark.parametrize("path", sorted((ROOT / "minigen").rglob("*.py")), ids=module)
def test_no_room_of_minigen_looks_upstairs(path: Path) -> None:
    room = path.relative_to(ROOT / "minigen").with_suffix("").parts[0]
    names = [name.split(".") for name in imported(ast.parse(path.read_text()))]
    reached = {name[1] for name in names if name[0] == "minigen"}
    assert reached <= MAY_USE[room] | {room}


def test_a_training_step_reads_in_one_function() -> None:
    steps = {}
    for path in (ROOT / "minigen" / "recipes").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name == "step":
                steps[path.stem] = (node.end_lineno or 0) - node.lineno + 1
    assert steps.keys() == {"ae", "vae", "gan", "cyclegan", "pix2pix", "ddpm", "ncsn"}
    assert max(steps.values()) <= 15


@pytest.mark.parametrize("path", PACKAGED, ids=module)
def test_what_is_public_is_documented(path: Path) -> None:
    """Modules, and the functions and classes at their top level. (Methods named after PyTorch's
    speak for themselves.)"""
    tree = ast.parse(path.read_text())
    definitions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    undocumented = [
        d.name for d in definitions if not d.name.startswith("_") and not ast.get_docstring(d)
    ]
    assert ast.get_docstring(tree) and undocumented == []


@pytest.mark.parametrize("path", PACKAGED, ids=module)
def test_no_check_vanishes_under_python_o(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Assert)]
    found += [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "__debug__"]
    assert [node.lineno for node in found] == []


@pytest.mark.parametrize("path", PACKAGED, ids=module)
def test_messages_speak_python(path: Path) -> None:
    """`batch_size`, of which the command line makes --batch-size; whole commands may be shown."""
    tree = ast.parse(path.read_text())
    nodes, whole = list(ast.walk(tree)), [n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr)]
    parts = {part for n in whole for part in n.values}
    texts = [_text(node) for node in nodes if node not in parts]
    options = re.compile(r"--[a-z]|(^|\s)-n\b")
    said = [re.sub("minigen (train|sample|evaluate) .*", "", text) for text in texts]
    wrong = [text for text in said if options.search(text) and "\n" not in text]
    assert wrong == [] or module(path) in ("minigen.cli", "minigen.commands")


def _text(node: ast.AST) -> str:
    """A string, or one with braces for what is put into it; nothing of other nodes."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_cupy_is_imported_only_for_a_gpu(tmp_path: Path) -> None:
    """Every module is imported, and a tensor made, while a CuPy lies ready."""
    (tmp_path / "cupy.py").write_text("")
    modules = [module(path) for path in PACKAGED if path.name != "__main__.py"]
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {', '.join(modules)}; "
    code += "tensor.Tensor([1.0]).exp(); print('cupy' in sys.modules); "
    code += "import cupy; print(cupy.__file__)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert process.stdout.split() == ["False", str(tmp_path / "cupy.py")], process.stderr


@pytest.fixture(scope="module")
def setup_cfg() -> ConfigParser:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def test_every_package_folder_is_installed(setup_cfg: ConfigParser) -> None:
    listed = {ROOT / name.replace(".", "/") for name in setup_cfg["options"]["packages"].split()}
    assert (
        listed
        == {path.parent for path in PACKAGED}
        == {path.parent for path in PACKAGED if path.name == "__init__.py"}
    )


def test_every_data_file_is_installed(setup_cfg: ConfigParser) -> None:
    """py.typed, by which type checkers know that the packages are typed, among them."""
    package_data = setup_cfg["options.package_data"].items()
    listed = {
        ROOT / package.replace(".", "/") / name
        for package, names in package_data
        for name in names.split(", ")
    }
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    assert listed == {
        path for path in files if path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert {ROOT / package / "py.typed" for package in PACKAGES} <= listed


def test_the_page_of_what_is_public_is_up_to_date() -> None:
    assert surface.PAGE.read_text() == surface.page(), "python -m tests.surface writes it anew"


@pytest.mark.parametrize("heading", ["A first page", "From Python"])
def test_a_page_of_the_readme_prints_what_it_says(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    section = (ROOT / "README.md").read_text().split(f"\n## {heading}\n")[1]
    section = section.split("\n## ")[0]
    page = "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    with redirect_stdout(io.StringIO()) as out:
        exec(page, {})
    said = re.findall(r"^print.*?  # (.*)$", page, re.MULTILINE)
    assert out.getvalue().splitlines() == said != []


def test_the_pictures_of_the_readme_are_there_and_small() -> None:
    """All that `python -m docs.draw` makes, and no other; a page that loads at once."""
    shown = re.findall(r"!\[.+?\]\(docs/pictures/(.*?)\)", (ROOT / "README.md").read_text())
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    ours = {f"{name}.png" for name in ("ddpm", "gan", "cyclegan", *draw.EXAMPLES)}
    assert sizes.keys() == set(shown) == ours | {"denoising.gif"}
    assert max(sizes.values()) <= 150_000 and sum(sizes.values()) <= 700_000
