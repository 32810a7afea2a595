"""How the folders hang together: each imports only what stands to its left, and nothing heavy without need."""

import ast
import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEFT_OF = {
    "configs": set[str](),
    "sensors": {"configs"},
    "export": {"configs", "sensors"},
    "stream": {"configs", "sensors", "export"},
    "train": {"configs", "sensors", "export"},
    "audit": {"configs", "sensors", "export", "stream", "train"},
    "cli": {"configs", "sensors", "export", "stream", "train", "audit"},
}
"""What each folder may import. `stream` and `train` do not know each other."""

HEAVY = {"torch", "onnx", "onnxscript", "onnxruntime", "tensorrt", "scipy", "sklearn", "lightning", "rerun", "mcap"}
VENDOR = {"pykinect_azure", "pyk4a", "pykinect2", "pyorbbecsdk", "freenect2", "cv2"}
LONGEST_FILE = 400

FILES = [path for folder in LEFT_OF for path in sorted((ROOT / folder).rglob("*.py"))]
TESTS = sorted((ROOT / "tests").glob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_file = pytest.mark.parametrize("path", FILES, ids=name)


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    """(level, dotted name) of each import below a node, wherever it stands; level 0 is absolute."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            yield from ((0, alias.name) for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom):
            if inner.module == "skelanon":
                yield from ((inner.level, f"skelanon.{alias.name}") for alias in inner.names)
            else:
                yield inner.level, inner.module or ""


def imports_on_import(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Those that run when the file is imported: not in functions, and not for type checkers alone."""
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        for inner in ast.iter_child_nodes(node):
            for_checkers = isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING"
            if not for_checkers and not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                waiting.append(inner)


def test_there_is_something_to_test() -> None:
    assert len(FILES) > 40
    assert len(TESTS) > 30
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(LEFT_OF)


@every_file
def test_a_file_imports_only_what_stands_to_its_left(path: Path) -> None:
    folder, package = path.relative_to(ROOT).parts[0], ".".join(("skelanon", *path.relative_to(ROOT).parts[:-1]))
    for level, imported in imports(tree(path)):
        if level:
            assert level == 1, f"{name(path)}: {'.' * level}{imported} leaves its package"
            continue
        first, *rest = imported.split(".")
        assert first not in LEFT_OF, (
            f"{name(path)}: `import {imported}` makes second classes; import skelanon.{imported}"
        )
        if first == "skelanon":
            assert rest, f"{name(path)}: import a folder of skelanon"
            assert not f"{imported}.".startswith(f"{package}."), f"{name(path)}: import {imported} relatively"
            assert rest[0] in LEFT_OF[folder] | {folder}, f"{name(path)}: {folder} must not import {imported}"


@every_file
def test_heavy_packages_are_imported_only_where_they_are_needed(path: Path) -> None:
    module, folder = tree(path), path.relative_to(ROOT).parts[0]
    anywhere = {imported.partition(".")[0] for level, imported in imports(module) if not level}
    at_once = {imported.partition(".")[0] for level, imported in imports_on_import(module) if not level}
    assert not at_once & VENDOR
    if folder not in ("train", "audit"):
        assert not at_once & HEAVY
    if folder in ("configs", "sensors", "stream"):
        assert not anywhere & (HEAVY - {"mcap"} if folder == "stream" else HEAVY)  # where it records


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=name)
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST_FILE


@every_file
def test_a_file_is_quiet_and_documented(path: Path) -> None:
    module = tree(path)
    assert len(ast.get_docstring(module) or "") > 10
    assert not {"pickle", "marshal", "shelve", "dill"} & {imported.partition(".")[0] for _, imported in imports(module)}
    calls = [ast.unparse(node.func) for node in ast.walk(module) if isinstance(node, ast.Call)]
    assert "print" not in calls
    assert not {"eval", "exec", "os.system"} & set(calls)
    if path.relative_to(ROOT).parts[0] != "cli":
        assert "sys.exit" not in calls


@every_file
def test_no_file_is_named_after_a_third_party_package(path: Path) -> None:
    assert {"numpy", "zmq", "yaml", "onnx"} <= third_party()
    assert path.stem not in third_party()


@functools.cache
def third_party() -> set[str]:
    found = {imported.partition(".")[0] for file in FILES for level, imported in imports(tree(file)) if not level}
    return (found | HEAVY | VENDOR) - set(sys.stdlib_module_names) - {"skelanon"}


@pytest.mark.parametrize("folder", [folder for folder in LEFT_OF if folder != "cli"])
def test_a_folders_public_list_is_what_it_imports(folder: str) -> None:
    if folder == "audit":
        pytest.importorskip("torch", reason="needs skelanon[train]")
    module = importlib.import_module(f"skelanon.{folder}")
    statements = tree(ROOT / folder / "__init__.py").body
    imported = {
        alias.asname or alias.name for node in statements if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert set(module.__all__) == imported
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert not public.startswith("_")
        assert getattr(module, public).__doc__


def test_the_command_line_is_no_library() -> None:
    (only,) = tree(ROOT / "cli" / "__init__.py").body
    assert isinstance(only, ast.Expr)


def modules_after(script: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a script."""
    script += "\nimport sys\nsys.stdout.write(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    ["configs", "sensors", "export", "export.bundle", "stream", "stream.window", "train.data.importing", "cli.main"],
)
def test_importing_loads_no_model_runtime(module: str) -> None:
    loaded = modules_after(f"import skelanon.{module}")
    assert "skelanon" in loaded
    assert not loaded & (HEAVY | VENDOR)


def test_the_command_line_starts_without_what_its_commands_need() -> None:
    assert not modules_after("import skelanon.cli.main") & {"numpy", "zmq", "pydantic", "yaml"}


def test_a_running_node_needs_onnxruntime_and_nothing_of_training() -> None:
    script = """
from skelanon.configs import check
from skelanon.stream import create_node
sensors = {"a": {"kind": "synthetic", "fast": True, "frames": 50}}
with create_node(check({"sensors": sensors, "publish": {"endpoint": "tcp://127.0.0.1:*"}}, "test")) as node:
    node.run()
assert node.counters[0].frames_out == 50
"""
    loaded = modules_after(script)
    assert "onnxruntime" in loaded
    assert not loaded & (HEAVY - {"onnxruntime"} | VENDOR)


def test_no_folder_can_be_imported_by_its_bare_name_from_elsewhere(tmp_path: Path) -> None:
    script = f"""
import importlib.util, sys
sys.stdout.write(repr([name for name in {sorted(LEFT_OF)} if importlib.util.find_spec(name)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    assert done.stdout == "[]"
