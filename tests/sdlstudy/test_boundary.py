"""The study uses the library like another package: through its public names."""

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

PUBLIC = {"sdlcore": set(dir(sdlcore)), "sdlcore.pipeline": set(dir(pipeline))}
MOST_NAMES = 120


def imports(files):
    """Return the names that files import from the library, by module; the empty name for the module itself."""
    found = defaultdict(set)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path} has a relative import"
                names = {(node.module or "", alias.name) for alias in node.names}
            else:
                names = {(alias.name, "") for alias in node.names} if isinstance(node, ast.Import) else set()
            for module, name in names:
                if module.partition(".")[0] == "sdlcore":
                    found[module].add(name)
    return found


@pytest.fixture(scope="module")
def imported():
    return imports(sorted((REPOSITORY / "workflow/sdlstudy").rglob("*.py")))


def test_the_study_imports_at_most_120_names_and_only_public_ones(imported):
    assert imported.keys() == PUBLIC.keys()
    for module, names in imported.items():
        assert names <= PUBLIC[module], module
    assert sum(map(len, imported.values())) <= MOST_NAMES


def test_every_name_of_the_pipeline_is_used_and_none_is_public_twice(imported):
    workflow = REPOSITORY / "workflow"
    scripts = imports([*workflow.glob("scripts/*.py"), *workflow.glob("runs/*.py")])["sdlcore.pipeline"]
    rules = [path.read_text() for path in (workflow / "functions").glob("*.smk")]
    lines = [line for text in rules for line in re.findall(r"^from sdlcore\.pipeline import (.+)$", text, re.MULTILINE)]
    of_rules = {name for line in lines for name in line.split(", ")}
    assert imported["sdlcore.pipeline"] | scripts | of_rules == PUBLIC["sdlcore.pipeline"]
    assert not PUBLIC["sdlcore"] & PUBLIC["sdlcore.pipeline"]


def test_every_name_of_the_pipeline_is_documented_and_on_its_page():
    page = (REPOSITORY / "docs/reference/pipeline.md").read_text()
    shown = {path.rpartition(".")[2]: path for path in re.findall(r"^::: (\S+)$", page, flags=re.MULTILINE)}
    assert shown.keys() == PUBLIC["sdlcore.pipeline"]
    for name, path in shown.items():
        found = getattr(pipeline, name)
        text = text_of(path) or (found.__doc__ if isinstance(found, type | FunctionType) else None)
        assert text, f"{path} has no docstring"
        assert not text.startswith(f"{name}("), f"{path} has no docstring of its own"  # a dataclass without one


def test_a_name_that_the_pipeline_lacks_is_an_error_as_of_any_module():
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from sdlcore.pipeline import nothing  # noqa: F401
    assert not hasattr(pipeline, "nothing")


def test_the_linter_forbids_the_study_every_other_part_of_the_library():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [one for one in settings if one["type"] == "forbidden" and one["source_modules"] == ["sdlstudy"]]
    rooms = {
        path.stem
        for path in (REPOSITORY / "src/sdlcore").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    forbidden = {module.removeprefix("sdlcore.") for module in contract["forbidden_modules"]}
    assert forbidden == rooms - {"__init__", "pipeline"}
    assert "ignore_imports" not in contract
