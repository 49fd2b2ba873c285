"""The house as drawn: imports go down only, no exception is swallowed, and nothing is left undone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.contract.trees import nodes

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "hsm_agent"

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
SOURCES = sorted(
    path
    for folder in ("hsm_agent", "tests", "benchmarks", "integrations")
    for path in (ROOT / folder).rglob("*.py")
    if path.is_file()
)

MOST_FUNCTION_LINES = 40
# Functions that are longer, each with the reason why it is not two.
LONGER_FUNCTIONS: dict[str, str] = {}


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_functions_stay_short() -> None:
    longer = {
        f"{_name(module)}: {node.name}"
        for module in MODULES
        for node in nodes(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MOST_FUNCTION_LINES
    }

    assert longer == set(LONGER_FUNCTIONS)


def test_imports_only_go_down() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_itself_imports_nothing() -> None:
    code = "import sys, hsm_agent; print(*sorted(name for name in sys.modules if name.startswith('hsm_agent')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50)

    assert done.stdout.split() == ["hsm_agent"]


def test_the_worker_loads_the_standard_library_only() -> None:
    code = "import sys; sys.path.insert(0, '.'); import hsm_agent.workers.pkcs11.__main__; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=50)

    strangers = {name.split(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names - {"__main__"}
    assert strangers == {"hsm_agent"}


def _tracked() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.splitlines() if (path := ROOT / name).is_file()]


AT_THE_TOP = {
    ".ci", ".gitignore", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md",
    "benchmarks", "conf", "docs", "hsm_agent", "init", "integrations", "mibs", "package", "pyproject.toml",
    "requirements", "scripts", "share", "tests",
}  # fmt: skip


def test_nothing_that_a_command_left_lies_at_the_top() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in _tracked()} == AT_THE_TOP


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


# Files of others that texts name.
NOT_OURS = {"coverage/collector.py", "sitecustomize.py"}


def test_the_files_that_texts_name_exist() -> None:
    """Docstrings, comments and pages: a file that is moved or folded takes its mentions along."""
    ours = {f"/{path.relative_to(ROOT).as_posix()}" for path in SOURCES}
    texts = [*SOURCES, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "init").glob("*.md")]
    named = {name for path in texts for name in re.findall(r"(?<![\w/*{}.-])\w[\w/]*\.py\b", _text(path))}

    assert {name for name in named if not any(each.endswith(f"/{name}") for each in ours)} == NOT_OURS


# Put together so that this file does not find itself.
LEFT_UNDONE = re.compile(rf"\b({'TO'}DO|{'FIX'}ME|{'X'}XX|{'HA'}CK)\b")
BROAD = {"Exception", "BaseException"}
PATCHED = re.compile(r"\bmock\b|setattr\(\s*[\"']hsm_agent")


def test_nothing_is_left_undone() -> None:
    found = [path.name for path in _tracked() if path.suffix != ".txt" and LEFT_UNDONE.search(_text(path))]

    assert found == []


def _handlers(module: Path) -> list[ast.ExceptHandler]:
    return [node for node in nodes(module) if isinstance(node, ast.ExceptHandler)]


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in BROAD) for kind in caught)


def test_no_exception_is_swallowed() -> None:
    found = [_name(module) for module in MODULES for node in _handlers(module) if isinstance(node.body[0], ast.Pass)]

    assert found == []


def test_broad_exceptions_end_in_five_places_only() -> None:
    """Where one poll, delivery, HTTP answer or report with a bug ends no other; threads.py raises where the call was made.

    Elsewhere they may be caught to clean up, and are raised again.
    """
    ended = {
        _name(module)
        for module in MODULES
        for node in _handlers(module)
        if _is_broad(node) and not isinstance(node.body[-1], ast.Raise)
    }

    architecture = _text(ROOT / "ARCHITECTURE.md")
    assert [name for name in ended if f"`{name}`" not in architecture] == []
    assert ended == {
        "agent/publisher.py",
        "collect/runner.py",
        "deliver/pump.py",
        "serve/http/connection.py",
        "threads.py",
    }


# Each has a bound on how long it is waited for, and none takes a thread that anybody else needs.
MAY_BLOCK = {
    "resolver": (re.compile(r"getaddrinfo|getfqdn|gethostby"), {"net/address.py", "agent/host.py"}),
    "numbers only": (re.compile(r"AI_NUMERICHOST"), {"net/udp.py", "serve/http/server.py"}),
}
SHARED_THREADS = re.compile(
    r"\bto_thread\b|run_in_executor|ThreadPoolExecutor|loop\.getaddrinfo|get_running_loop\(\)\.getaddrinfo"
)


def test_nothing_that_may_hang_runs_on_an_executor() -> None:
    """One file system that hangs would fill a shared one, and any is joined at exit: the process would never end."""
    assert [_name(module) for module in MODULES if SHARED_THREADS.search(_text(module))] == []


def test_resolvers_are_asked_where_they_cannot_hold_up_the_loop() -> None:
    for pattern, expected in MAY_BLOCK.values():
        numeric = MAY_BLOCK["numbers only"][1] if pattern is MAY_BLOCK["resolver"][0] else set()
        assert {_name(module) for module in MODULES if pattern.search(_text(module))} == expected | numeric


def _patches_an_own_name(path: Path) -> bool:
    """Whether `monkeypatch.setattr` is given a name that was imported from the package."""
    if "setattr" not in _text(path):
        return False
    own = {
        (each.asname or each.name).split(".")[0]
        for node in nodes(path)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for each in node.names
        if (getattr(node, "module", None) or each.name).split(".")[0] == "hsm_agent"
    }
    calls = [node for node in nodes(path) if isinstance(node, ast.Call) and len(node.args) > 1]
    patched = [call.args[0] for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "setattr"]
    return any(isinstance(node, ast.Name) and node.id in own for each in patched for node in ast.walk(each))


def test_own_modules_are_never_patched() -> None:
    found = [
        path.name
        for path in SOURCES
        if path != Path(__file__).resolve() and (PATCHED.search(_text(path)) or _patches_an_own_name(path))
    ]

    assert found == []


def test_requirements_are_pinned_by_hash_and_name_no_index() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        lines = _text(path).splitlines()
        assert not [line for line in lines if "://" in line or line.startswith("-")], path.name
        pinned = [line for line in lines if re.match(r"[A-Za-z0-9]", line)]
        assert pinned
        assert all(re.fullmatch(r"\S+==\S+( ;.*)? \\", line) for line in pinned), path.name


def test_what_is_declared_is_what_is_installed() -> None:
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    declared = {"run": project["dependencies"], **extras}

    for name, packages in declared.items():
        assert _text(ROOT / "requirements" / f"{name}.in").splitlines() == packages, name


def test_the_version_is_one_of_semantic_versioning() -> None:
    from hsm_agent.version import VERSION

    assert re.fullmatch(r"\d+\.\d+\.\d+([.-][0-9A-Za-z.-]+)?", VERSION)


def test_ci_calls_the_test_script_and_nothing_else() -> None:
    lines = [line for line in _text(ROOT / ".ci" / "run").splitlines() if line and not line.startswith("#")]

    assert lines == ['exec "$(dirname "$0")/../scripts/test"']
