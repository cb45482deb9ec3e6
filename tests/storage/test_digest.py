import os
import re
import subprocess
import sys

import pytest

from sdlcore.storage import digest
from sdlcore.storage.digest import DECLARATIONS, imported_sources, source_digest
from tests.conftest import REPOSITORY


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "src"
    files = {
        **{"pkg/__init__.py": "", "pkg/used.py": "from pkg.deep import leaf\n", "pkg/deep/__init__.py": ""},
        **{"pkg/deep/leaf.py": "from . import sibling\nfrom ..late import x\n"},
        **{"pkg/deep/sibling.py": "import numpy\n", "pkg/late.py": "x = 1\n", "pkg/lazy.py": "", "pkg/unused.py": ""},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    script = tmp_path / "script.py"
    script.write_text("import pkg.used\n\ndef f():\n    from pkg import lazy\n")
    return script, root


def test_imports_are_followed_to_the_end(tree):
    script, root = tree
    assert list(imported_sources(script, root)) == sorted(
        {
            "script.py",
            *("pkg/__init__.py", "pkg/used.py", "pkg/lazy.py", "pkg/late.py"),
            *("pkg/deep/__init__.py", "pkg/deep/leaf.py", "pkg/deep/sibling.py"),
        }
    )


@pytest.mark.parametrize("name", ["pkg/used.py", "pkg/deep/sibling.py", "pkg/lazy.py", "pkg/deep/__init__.py"])
def test_an_edit_of_anything_imported_changes_the_digest(tree, name):
    script, root = tree
    before = source_digest(script, root)
    (root / name).write_text((root / name).read_text() + "y = 2\n")
    assert source_digest(script, root) != before


def test_touching_and_editing_what_is_not_imported_does_not(tree):
    script, root = tree
    before = source_digest(script, root)
    (root / "pkg/used.py").touch()
    (root / "pkg/unused.py").write_text("z = 1\n")
    assert source_digest(script, root) == before


@pytest.mark.parametrize("folder", ["a", "z"])
def test_where_the_checkout_and_its_scripts_lie_does_not_matter(tree, tmp_path, folder):
    script, root = tree
    moved = tmp_path / "elsewhere" / folder
    moved.mkdir(parents=True)
    before = source_digest(script, root)
    root = root.rename(moved.parent / "src")
    assert source_digest(script.rename(moved / "script.py"), root) == before


def test_parts_that_settings_name_count_where_they_are_named(tree):
    script, root = tree
    digests = {parts: source_digest(script, root, parts) for parts in [(), ("pkg.unused",)]}
    assert len(set(digests.values())) == 2
    (root / "pkg/unused.py").write_text("z = 1\n")
    assert source_digest(script, root) == digests[()]
    assert source_digest(script, root, ("pkg.unused",)) != digests[("pkg.unused",)]


@pytest.mark.parametrize("part", ["pkg.nothing", "nowhere"])
def test_a_part_that_is_no_module_is_named(tree, part):
    with pytest.raises(ModuleNotFoundError, match=part):
        source_digest(*tree, (part,))


@pytest.mark.parametrize("lazy", ["pkg/deep/__init__.pyi", "pkg/lazy.pyi"])
def test_a_name_that_a_stub_lists_counts_as_the_module_that_it_comes_from(tree, lazy):
    script, root = tree
    package = lazy.removesuffix("/__init__.pyi").removesuffix(".pyi").replace("/", ".")
    within = "..used" if "deep" in lazy else ".used"
    (root / "pkg/used.py").write_text("")
    (root / lazy).write_text(f"from {within} import f as f\nfrom {within[:-4]}unused import g as g\n")
    script.write_text(f"def late():\n    from {package} import g\n")
    assert {"pkg/unused.py"} <= imported_sources(script, root).keys()
    assert "pkg/used.py" not in imported_sources(script, root)
    before = source_digest(script, root)
    (root / "pkg/used.py").write_text("x = 2\n")
    assert source_digest(script, root) == before
    (root / "pkg/unused.py").write_text("x = 2\n")
    assert source_digest(script, root) != before


def test_declarations_of_settings_are_files():
    folders = [REPOSITORY / "src", REPOSITORY / "workflow"]
    assert all(any((folder / name).is_file() for folder in folders) for name in DECLARATIONS)


@pytest.mark.parametrize("name", ["pkg/settings.py", "pkg/run.py"])
def test_declarations_of_settings_do_not_count(tree, name, monkeypatch):
    monkeypatch.setattr(digest, "DECLARATIONS", ("pkg/settings.py", "pkg/run.py"))
    script, root = tree
    script.write_text("import pkg.settings\nimport pkg.run\n")
    (root / "pkg/settings.py").write_text("import pkg.late\nk = 1\n")
    (root / "pkg/run.py").write_text("k = 1\n")
    before = source_digest(script, root)
    assert list(imported_sources(script, root)) == ["pkg/__init__.py", "script.py"]
    (root / name).write_text("k = 2\n")
    assert source_digest(script, root) == before


def test_a_release_that_changes_no_code_reruns_no_stage(tmp_path):
    for name in ("__init__.py", "__init__.pyi", "version.py"):
        (tmp_path / "sdlcore").mkdir(exist_ok=True)
        (tmp_path / "sdlcore" / name).write_bytes((REPOSITORY / "src/sdlcore" / name).read_bytes())
    script = tmp_path / "script.py"
    script.write_text("import sdlcore\n")
    before = source_digest(script, tmp_path)
    (tmp_path / "sdlcore/version.py").write_text('__version__ = "98.7"\n')
    assert source_digest(script, tmp_path) == before
    with (tmp_path / "sdlcore/__init__.py").open("a") as init:
        init.write("x = 1\n")
    assert source_digest(script, tmp_path) != before


def test_scripts_that_import_by_names_in_settings_are_those_whose_rules_name_the_parts():
    """Other scripts only read dictionaries, which are recomputed if their parts change. Products do, too."""
    root, rules = REPOSITORY / "src", "".join(path.read_text() for path in REPOSITORY.glob("workflow/*/*.smk"))
    modules = [*root.rglob("*.py"), *(REPOSITORY / "workflow/peers").glob("*.py")]
    registries = {path for path in modules if re.search(r'import_module\(f"(sdlcore|peers)\.', path.read_text())}
    assert {path.stem for path in registries} == {"registry", "term", "run_peer"}
    for script in sorted(REPOSITORY.glob("workflow/scripts/*.py")):
        named = f'code_digest("{script.stem}", *' in rules or script.stem in ("train", "train_streamed", "train_drawn")
        if registries & set(imported_sources(script, root).values()):
            reads = "load_model(" in script.read_text() or script.stem in ("product", "report")
            assert named or reads, script.stem
    assert "code_digest(train_script(wildcards), *" in rules


PROSE = [
    ("x = 1\n", "# why\nx = 1  # how\n"),
    ("def f():\n    return 1\n", 'def f():\n    """Return one."""\n\n    return (1)\n'),
    ("class C:\n    k: int = 1\n", '"""Settings."""\nclass C:\n    """Some."""\n    k: int = 1\n    """Latents."""\n'),
    ("a = {1: 2, 3: 4}\n", "a = {\n    1: 2,\n    3: 4,\n}\n"),
]


STATEMENTS = [
    ("x = 1\n", "x = 1.0\n"),
    ("x = 1\n", "x = True\n"),
    ("x = 'a'\n", "x = b'a'\n"),
    ("f(1)\n", "f(1, *[])\n"),
    ("x = -1\n", "x = +1\n"),
    ("x = f'{y}'\n", "x = f'{y!r}'\n"),
    ("return_ = 'text'\n", "return_ = 'other text'\n"),
    ("if a:\n    b()\n    c()\n", "if a:\n    b()\nc()\n"),
    ("x = (1, 2), 3\n", "x = 1, (2, 3)\n"),
    ("def f(a, b=1): pass\n", "def f(a, *, b=1): pass\n"),
]


@pytest.mark.parametrize(
    ("one", "other", "same"), [*((*pair, True) for pair in PROSE), *((*pair, False) for pair in STATEMENTS)]
)
def test_statements_change_the_digest_and_comments_docstrings_and_layout_do_not(tree, one, other, same):
    script, root = tree
    (root / "pkg/used.py").write_text(one)
    before = source_digest(script, root)
    (root / "pkg/used.py").write_text(other)
    assert (source_digest(script, root) == before) == same


def test_a_plugins_file_counts_with_what_it_imports_of_ours_and_from_beside_it(tmp_path):
    (root := tmp_path / "src").mkdir()
    (tmp_path / "script.py").write_text("import part\n")
    (root / "part.py").write_text("x = 1\n")
    (root / "other.py").write_text("x = 1\n")
    (folder := tmp_path / "own").mkdir()
    (folder / "plugin.py").write_text("import json\nimport other\nimport helper\n")
    (folder / "helper.py").write_text("x = 1\n")
    (folder / "alone.py").write_text("x = 1\n")

    def digest():
        return source_digest(tmp_path / "script.py", root, [str(folder / "plugin.py")])

    before = digest()
    assert before != source_digest(tmp_path / "script.py", root)
    sources = imported_sources(tmp_path / "script.py", root, [str(folder / "plugin.py")])
    assert list(sources) == ["beside: helper.py", "beside: plugin.py", "other.py", "part.py", "script.py"]
    (folder / "alone.py").write_text("x = 2\n")
    assert digest() == before
    for path in (folder / "helper.py", folder / "plugin.py", root / "other.py"):
        earlier = digest()
        path.write_text(path.read_text() + "y = 2\n")
        assert digest() != earlier
    earlier = digest()
    folder = folder.rename(tmp_path / "moved")
    assert digest() == earlier


def test_a_script_of_a_workflow_counts_with_the_packages_of_the_workflow(tmp_path, monkeypatch):
    (root := tmp_path / "src").mkdir()
    (root / "part.py").write_text("x = 1\n")
    for folder in ("scripts", "study"):
        (tmp_path / "workflow" / folder).mkdir(parents=True)
    script, module = tmp_path / "workflow/scripts/make.py", tmp_path / "workflow/study/table.py"
    script.write_text("from study.table import x\n")
    module.write_text("from part import x\n")
    assert list(imported_sources(script, root)) == ["beside: scripts/make.py", "beside: study/table.py", "part.py"]
    before = source_digest(script, root)
    module.write_text("from part import x\ny = 1\n")
    assert source_digest(script, root) != before
    monkeypatch.setattr(digest, "DECLARATIONS", ("study/table.py",))
    assert list(imported_sources(script, root)) == ["beside: scripts/make.py"]


def test_an_installed_plugin_counts_without_the_libraries_beside_it(tmp_path):
    (root := tmp_path / "src").mkdir()
    (tmp_path / "script.py").touch()
    installed = tmp_path / "site-packages"
    (installed / "own").mkdir(parents=True)
    (installed / "library.py").touch()
    (installed / "own/__init__.py").touch()
    (installed / "own/helper.py").touch()
    (installed / "own/plugin.py").write_text("import library\nfrom own import helper\n")
    sources = imported_sources(tmp_path / "script.py", root, [str(installed / "own/plugin.py")])
    assert list(sources) == ["beside: own/__init__.py", "beside: own/helper.py", "beside: own/plugin.py", "script.py"]


def test_libraries_beside_an_installed_package_do_not_count(tmp_path, monkeypatch):
    (tmp_path / "sdlcore").mkdir()
    (tmp_path / "sdlcore/__init__.py").write_text("import library\n")
    (tmp_path / "library.py").write_text("x = 1\n")
    (tmp_path / "script.py").write_text("import sdlcore\n")
    monkeypatch.setattr(digest, "HOME", tmp_path)
    assert set(digest.imported_sources(tmp_path / "script.py", tmp_path)) == {"script.py", "sdlcore/__init__.py"}


@pytest.mark.parametrize(
    ("source", "encoding"),
    [("x = '\u03c3 \u65e5\u672c'\n", "utf-8"), ("# coding: euc-jp\nx = '\u65e5\u672c'\n", "euc-jp")],
)
def test_the_locale_does_not_change_the_digest(tmp_path, source, encoding):
    """Here, Python decodes files as ASCII."""
    script = tmp_path / "script.py"
    script.write_bytes(source.encode(encoding))
    code = "import sys, locale, pathlib; from sdlcore.storage.digest import source_digest\n"
    code += "print(locale.getencoding(), source_digest(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]).parent))"
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code, str(script)]
    lines = subprocess.check_output(command, env=os.environ | variables, text=True).split()
    assert lines == ["ANSI_X3.4-1968", source_digest(script, tmp_path)]
