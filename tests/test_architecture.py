"""Imports point one way, and heavy libraries stay where they belong."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ifttool
from helpers import ROOT, run_python

PACKAGE = ROOT / "ifttool"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# Library → where it may be imported: modules, or packages with a dot at the end.
HOMES = {
    "typer": ("ifttool.cli.",),
    "rich": ("ifttool.cli.",),
    "jinja2": ("ifttool.template.",),
    "pyarrow": (
        "ifttool.arranging.",
        "ifttool.exporting.hf_disk",
        "ifttool.io.",
        "ifttool.packing.schema",
        "ifttool.schema",
        "ifttool.shards",
        "ifttool.manifest",
    ),
    "tokenizers": ("ifttool.tokenizer.",),
    "fastokens": ("ifttool.tokenizer.",),
    "huggingface_hub": ("ifttool.template.", "ifttool.tokenizer."),
    "zstandard": ("ifttool.io.",),
}


def imports(path: Path, module: str) -> Iterator[str]:
    """Every module that a file imports when it runs: at its top or inside functions, not for type checks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


IMPORTS = {module: set(imports(path, module)) for module, path in MODULES.items()}


def inside(module: str, homes: tuple[str, ...]) -> bool:
    return any(module == home or (home.endswith(".") and f"{module}.".startswith(home)) for home in homes)


@pytest.mark.parametrize("library", sorted(HOMES))
def test_libraries_stay_at_home(library: str) -> None:
    users = {
        module
        for module, names in IMPORTS.items()
        if any(name == library or name.startswith(f"{library}.") for name in names)
    }
    assert {module for module in users if not inside(module, HOMES[library])} == set()


def test_nothing_imports_the_command_line() -> None:
    users = {
        module
        for module, names in IMPORTS.items()
        if not inside(module, ("ifttool.cli.", "ifttool.__main__"))
        and any(inside(name, ("ifttool.cli.",)) for name in names)
    }
    assert users == set()


def test_leaves_import_nothing_of_the_package() -> None:
    for leaf in ("ifttool.errors", "ifttool.records", "ifttool.findings"):
        assert not {name for name in IMPORTS[leaf] if name.startswith("ifttool")}


def test_no_cycles() -> None:
    graph = {
        module: {name for name in names if name in MODULES and name != module}
        for module, names in IMPORTS.items()
        if module != "ifttool"  # loads its public functions on demand, from everywhere above it
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module in done or module not in graph:
            return
        for name in sorted(graph[module]):
            # A package's __init__ may gather what its own modules define.
            if not (module.startswith(f"{name}.") or name == "ifttool"):
                visit(name, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_only_the_command_line_prints() -> None:
    printing = {
        module
        for module, path in MODULES.items()
        if not inside(module, ("ifttool.cli.",))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    }
    assert printing == set()


def test_no_module_hides_a_public_function() -> None:
    # `import ifttool.mask` would set the attribute `mask` of the package to the module.
    assert {name for name in ifttool.__all__ if f"ifttool.{name}" in MODULES} == set()


def test_public_functions_load_on_demand(tmp_path: Path) -> None:
    code = (
        "import sys, ifttool\n"
        "assert [m for m in sys.modules if m.startswith('ifttool')] == ['ifttool']\n"
        "assert set(ifttool.__all__) <= set(dir(ifttool))\n"
        "from ifttool import mask, render, stats, tokenize, unroll, unroll_shards\n"
        "assert 'pyarrow' not in sys.modules\n"
        "assert 'numpy' not in sys.modules\n"
        "import ifttool.worker, ifttool.figures, ifttool.masks, ifttool.preparing.unrolling\n"
        "assert all(callable(getattr(ifttool, n)) for n in ifttool.__all__ if n[0] != '_')\n"
    )
    run_python(code, cwd=tmp_path)
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        ifttool.nonesuch  # noqa: B018


def test_the_fast_encoder_loads_before_numpy_is_imported(tmp_path: Path) -> None:
    # It takes longer than all else at the start, and everything else can load meanwhile.
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    code = (
        "import sys, ifttool\n"
        "from ifttool import shard_run\n"
        "from ifttool.tokenizer.fast_load import FastLoad\n"
        "shard_run.is_large = lambda sources: True\n"
        "def start(self):\n"
        "    print([name for name in ('numpy', 'pyarrow', 'jinja2') if name in sys.modules])\n"
        "    raise KeyboardInterrupt\n"
        "FastLoad.start = start\n"
        "try:\n    ifttool.mask('in.jsonl', 'out')\nexcept KeyboardInterrupt:\n    pass\n"
    )
    assert run_python(code, cwd=tmp_path) == "[]\n"


def test_import_is_fast(tmp_path: Path) -> None:
    code = "import time; start = time.process_time(); import ifttool; print(time.process_time() - start)"
    assert min(float(run_python(code, cwd=tmp_path)) for _ in range(5)) < 0.020
