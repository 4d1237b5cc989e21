"""Who may import whom: the layers of KLeash, held against every import statement there is."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from kleash.stages.table import STAGES as STAGE_TABLE

SOURCE = Path(__file__).parents[1] / "src" / "kleash"
FILES = {path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."): path for path in SOURCE.rglob("*.py")}
FILES = {name.removesuffix(".__init__"): path for name, path in FILES.items() if "__pycache__" not in path.parts}

GROUND = {"errors", "beside", "records", "maths", "durable", "screen"}
PLUMBING = {
    "protocols",
    "formats",
    "settings",
    "idle_settings",
    "versions",
    "plugins",
    "functions",
    "tracking",
    "progress",
    "limits",
    "artifacts",
    "lineage",
    "estimates",
    "results",
    "run_summary",
}
MATERIALS = {"models", "data", "checks"}
WORKERS = {"rollout", "scorers", "raters", "training", "algorithms"}
UP_TO_LOOP = GROUND | PLUMBING | MATERIALS | WORKERS | {"loop"}
SERVICE = (
    GROUND - {"maths"}
    | PLUMBING
    | {f"maths.{name}" for name in ("agreement", "intervals", "logistic", "overoptimisation")}
)

COLLECTION_WITHOUT_WEB = {
    f"collection.{name}"
    for name in ("store", "recorded", "campaign", "aggregation", "identity", "judge_quality", "exporting")
}

MAY_IMPORT = {
    **dict.fromkeys(GROUND, frozenset({"errors"})),
    "durable": {"errors", "beside", "screen"},
    "screen": {"errors", "web.visible"},
    **dict.fromkeys(PLUMBING, GROUND),
    **dict.fromkeys(("versions", "idle_settings"), GROUND | {"settings"}),
    "functions": GROUND | {"plugins"},
    "artifacts": GROUND | {"settings", "versions", "functions", "formats.sources"},
    "lineage": GROUND | {"artifacts"},
    "estimates": GROUND | {"web.wording"},
    "results": GROUND | {"artifacts", "estimates"},
    "run_summary": GROUND | {"estimates", "results"},
    "tracking": GROUND | {"plugins"},
    "formats": GROUND | {"plugins"},
    **dict.fromkeys(MATERIALS, GROUND | PLUMBING),
    "models": GROUND | PLUMBING | {"data.batches"},
    **dict.fromkeys(WORKERS, GROUND | PLUMBING | MATERIALS),
    "loop": {"errors", "records", "maths", "progress", "protocols", "settings", "data.batches", "algorithms"},
    "evaluation": UP_TO_LOOP | {"collection.store", "sandbox.gold"},
    "sandbox": UP_TO_LOOP | {"collection.store"},
    # An audit's page is part of its artifact.
    "stages": UP_TO_LOOP | COLLECTION_WITHOUT_WEB | {"evaluation", "monitor.pages.audit_page"},
    # How AI judges do is pure and torch-free, and shown beside people; patterns are kept as data in one way.
    "collection": SERVICE | {"checks.patterns", "raters.monitoring", "web"},
    # What raters are like is worked out from records alone; alarms, symptoms, gates and stages are tables and records.
    "monitor": SERVICE
    | {"web", "collection.recorded", "collection.quality", "stages.table"}
    | {f"evaluation.{name}" for name in ("alarms", "first_update", "symptoms", "gates")},
    "web": GROUND - {"maths"},
}
TOP = {
    "__init__",
    "__main__",
    "recipe",
    "runs",
    "locations",
    "preflight",
    "plan",
    "plan_probe",
    "library",
    "opened_run",
    "cli",
    "experiments",
    "testing",
}
# What lies in stages/support/ is shared by the stages; of one another they know nothing, and only `wiring` of one.
STAGES = {row.function.partition(":")[0].removeprefix("kleash.") for row in STAGE_TABLE.values()}
STAGES = STAGES - {"stages.wiring"} | {f"stages.{name}" for name in ("round", "people", "importing", "exporting")}
WITHOUT_TORCH = {"errors", "beside", "records", "durable", *PLUMBING, "checks", "monitor", "collection", "web"}


def imports_of(name, prefix="kleash", *, with_types=False):
    """Return the dotted names that a module imports, wherever in it, those below `prefix` only.

    with_types: those that it imports only for type checkers too.
    """
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    for_types_only = (
        set()
        if with_types
        else {
            id(node)
            for branch in ast.walk(tree)
            if isinstance(branch, ast.If) and ast.unparse(branch.test).endswith("TYPE_CHECKING")
            for statement in branch.body
            for node in ast.walk(statement)
        }
    )
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: write imports in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
    return {dotted for dotted in found if dotted == prefix or dotted.startswith(f"{prefix}.")}


def is_within(module, allowed):
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def modules_imported(name, *, with_types=False):
    """Return our own modules among a module's imports: `kleash.maths.kl.Leash` is the module `maths.kl`."""
    for dotted in imports_of(name, with_types=with_types) - {"kleash", "kleash.__version__"}:
        parts = dotted.split(".")[1:]
        known = [".".join(parts[:length]) for length in range(len(parts), 0, -1) if ".".join(parts[:length]) in FILES]
        yield known[0] if known else ".".join(parts)


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.split(".")[0] not in TOP))
def test_module_imports_only_what_its_layer_may(name):
    package = name.split(".")[0]
    allowed = MAY_IMPORT[package] | {package}
    other_stages = STAGES - {name} if package == "stages" and name != "stages.wiring" else set()
    strangers = {
        module for module in modules_imported(name) if not is_within(module, allowed) or is_within(module, other_stages)
    }
    assert not strangers, f"{name} may not import {sorted(strangers)}"


def test_no_modules_import_each_other_in_a_circle():
    """Imports within functions and for types alone count too: two modules that need each other are one idea."""
    imports = {name: set(modules_imported(name, with_types=True)) & FILES.keys() - {name} for name in FILES}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_only_evaluation_and_the_sandbox_see_the_gold_reward():
    seeing = {name.split(".")[0] for name in FILES if "sandbox.gold" in modules_imported(name)}
    assert seeing <= {"evaluation", "sandbox"}


def test_only_training_knows_of_other_processes():
    for prefix in ("torch.distributed", "ray"):
        assert {name.split(".")[0] for name in FILES if imports_of(name, prefix)} <= {"training"}


def test_no_module_has_a_name_that_says_nothing():
    for name in FILES:
        assert name.split(".")[-1] not in {"utils", "common", "helpers", "core", "base", "misc"}, name


def test_no_two_public_classes_share_a_name():
    files_of = defaultdict(list)
    for name, path in FILES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files_of[node.name].append(name)
    assert {name: files for name, files in files_of.items() if len(files) > 1} == {}


def test_summaries_are_read_by_attribute_through_their_records():
    def is_read_by_name(node):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            return isinstance(node.ctx, ast.Load) and ast.unparse(node.value).endswith(".summary")
        is_get = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".summary.get")
        return is_get and isinstance(node.args[0], ast.Constant)

    readers = {
        name for name, path in FILES.items() if any(map(is_read_by_name, ast.walk(ast.parse(path.read_text("utf-8")))))
    }
    # A lineage shows an artifact of whatever kind in a line.
    assert readers == {"lineage"}


def test_the_loop_can_be_read_in_one_sitting():
    assert len((SOURCE / "loop.py").read_text(encoding="utf-8").splitlines()) <= 215


def test_services_and_plumbing_start_without_torch():
    names = [f"kleash.{name}" for name in sorted(FILES) if name.split(".")[0] in WITHOUT_TORCH]
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name + ' imports torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------ docs/architecture.md
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
GROUPS = {"ground": GROUND, "plumbing": PLUMBING, "materials": MATERIALS, "workers": WORKERS}


def layer_table():
    """Return the rules above as the page shows them, packages of one rule in one row."""
    lines = ["| modules | may import |", "|---|---|"]
    names = [f"{name} ({', '.join(f'`{one}`' for one in sorted(group))})" for name, group in GROUPS.items()]
    by_rule = {}
    for module, allowed in MAY_IMPORT.items():
        by_rule.setdefault(frozenset(allowed), []).append(module)
    for allowed, modules in sorted(by_rule.items(), key=lambda rule: (len(rule[0]), sorted(rule[1]))):
        whole = [name for name, group in GROUPS.items() if group <= allowed]
        rest = sorted(allowed - {module for name in whole for module in GROUPS[name]})
        shown = ", ".join([*whole, *(f"`{name}`" for name in rest)])
        lines.append(f"| {', '.join(f'`{name}`' for name in sorted(modules))} | {shown} |")
    return "\n".join(["; ".join(names) + ".", "", *lines])


def with_table(page):
    """Return the page with the table as it is now between its marks."""
    before, _, rest = page.partition("<!-- layers -->\n")
    return f"{before}<!-- layers -->\n{layer_table()}\n<!-- /layers -->{rest.partition('<!-- /layers -->')[2]}"


def test_the_architecture_page_shows_these_very_layers():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "run python tests/test_layers.py"


def test_the_architecture_page_names_what_is_there():
    for span in re.findall(r"`([\w/]+\.py)(?:: (\w+))?`", PAGE.read_text(encoding="utf-8")):
        path, name = span
        file = next((root / path for root in (SOURCE, SOURCE.parents[1]) if (root / path).is_file()), None)
        assert file, f"no {path}"
        assert not name or re.search(rf"^ *(def|class) {name}\b", file.read_text(), re.MULTILINE), f"{path}: no {name}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
