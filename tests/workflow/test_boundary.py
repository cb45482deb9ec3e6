"""The workflow uses the library like another package: through its public names."""

import ast
import re
import tomllib
from collections import defaultdict
from types import FunctionType

import pytest

import sdlcore
from sdlcore import pipeline
from tests.conftest import REPOSITORY
from tests.pages.python_names import text_of

WORKFLOW = REPOSITORY / "workflow"
PUBLIC = {
    "sdlcore": set(dir(sdlcore)),
    "sdlcore.pipeline": set(dir(pipeline)),
}
MOST_NAMES = {"sdlstudy": 105, "": 190}
"""Part of the workflow -> the most names that it may import from sdlcore and sdlcore.pipeline together."""


def imports(text, name):
    """Return the names that a file imports from the library, by module; the empty name for the module itself.

    Snakemake's own lines are no Python, so imports of its files are read line by line.
    """
    if not name.endswith(".py"):
        text = "\n".join(re.findall(r"^\s*((?:from|import) sdlcore\b.*?(?:\([^)]*\)|$))", text, flags=re.MULTILINE))
        text = "\n".join(line.strip() for line in text.splitlines())
    names_by_module = defaultdict(set)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} has a relative import"
            names = {(node.module or "", alias.name) for alias in node.names}
        else:
            names = {(alias.name, "") for alias in node.names} if isinstance(node, ast.Import) else set()
        for module, imported in names:
            if module.partition(".")[0] == "sdlcore":
                names_by_module[module].add(imported)
    return names_by_module


@pytest.fixture(scope="module")
def imported():
    """Return file -> module of the library -> names, for every file of the workflow."""
    files = [path for path in WORKFLOW.rglob("*") if path.suffix in (".py", ".smk")]
    assert {path.parent.name for path in files} >= {"scripts", "rules", "functions", "products", "offline", "peers"}
    sources = {path.relative_to(WORKFLOW).as_posix(): path for path in files}
    sources |= {"Snakefile": WORKFLOW / "Snakefile", "../Snakefile": REPOSITORY / "Snakefile"}
    return {name: imports(path.read_text(), name) for name, path in sources.items()}


def test_the_workflow_imports_only_public_names(imported):
    for file, modules in imported.items():
        for module, names in modules.items():
            assert names <= PUBLIC.get(module, set()), f"{file} imports {names} of {module}"


@pytest.mark.parametrize("part", MOST_NAMES)
def test_the_workflow_imports_few_names(imported, part):
    its = [modules for file, modules in imported.items() if file.startswith(part)]
    names = {
        (module, name)
        for modules in its
        for module in ("sdlcore", "sdlcore.pipeline")
        for name in modules.get(module, ())
    }
    assert 0 < len(names) <= MOST_NAMES[part]


def test_every_name_of_the_pipeline_is_used_and_none_is_public_twice(imported):
    used = {name for modules in imported.values() for name in modules.get("sdlcore.pipeline", ())}
    assert used == PUBLIC["sdlcore.pipeline"]
    assert not PUBLIC["sdlcore"] & PUBLIC["sdlcore.pipeline"]


def test_every_name_of_the_pipeline_is_documented_and_on_its_page():
    page = (REPOSITORY / "docs/reference/pipeline.md").read_text()
    paths = {path.rpartition(".")[2]: path for path in re.findall(r"^::: (\S+)$", page, flags=re.MULTILINE)}
    assert paths.keys() == PUBLIC["sdlcore.pipeline"]
    for name, path in paths.items():
        member = getattr(pipeline, name)
        text = text_of(path) or (member.__doc__ if isinstance(member, type | FunctionType) else None)
        assert text, f"{path} has no docstring"
        assert not text.startswith(f"{name}("), f"{path} has no docstring of its own"  # a dataclass without one


def test_a_name_that_the_pipeline_lacks_is_an_error_as_of_any_module():
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from sdlcore.pipeline import nothing  # noqa: F401
    assert not hasattr(pipeline, "nothing")


def test_the_linter_forbids_the_workflow_every_other_part_of_the_library():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    packages = {path.parent.name for path in WORKFLOW.glob("*/__init__.py")}
    (contract,) = [one for one in settings if one["type"] == "forbidden" and set(one["source_modules"]) == packages]
    rooms = {
        path.stem
        for path in (REPOSITORY / "src/sdlcore").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    forbidden = {module.removeprefix("sdlcore.") for module in contract["forbidden_modules"]}
    assert forbidden == rooms - {"__init__", "__main__", "pipeline"}
