import pytest

from sdlcore.storage.digest import imported_sources, source_digest


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "src"
    files = {
        "pkg/__init__.py": "",
        "pkg/used.py": "from pkg.deep import leaf\n",
        "pkg/deep/__init__.py": "",
        "pkg/deep/leaf.py": "from . import sibling\nfrom ..late import x\n",
        "pkg/deep/sibling.py": "import numpy\n",
        "pkg/late.py": "x = 1\n",
        "pkg/lazy.py": "",
        "pkg/unused.py": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    script = tmp_path / "script.py"
    script.write_text("import pkg.used\n\ndef f():\n    from pkg import lazy\n")
    return script, root


def test_imports_are_followed_to_the_end(tree):
    script, root = tree
    found = {path.relative_to(root).as_posix() for path in imported_sources(script, root) if path != script}
    assert found == {
        *("pkg/__init__.py", "pkg/used.py", "pkg/lazy.py", "pkg/late.py"),
        *("pkg/deep/__init__.py", "pkg/deep/leaf.py", "pkg/deep/sibling.py"),
    }


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


def test_where_the_checkout_lies_does_not_matter(tree, tmp_path):
    script, root = tree
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    before = source_digest(script, root)
    assert source_digest(script.rename(moved / "script.py"), root.rename(moved / "src")) == before


PROSE = [
    ("x = 1\n", "# why\nx = 1  # how\n"),
    ("def f():\n    return 1\n", 'def f():\n    """Return one."""\n\n    return (1)\n'),
    ("class C:\n    k: int = 1\n", '"""Settings."""\nclass C:\n    """Some."""\n    k: int = 1\n    """Latents."""\n'),
    ("a = {1: 2, 3: 4}\n", "a = {\n    1: 2,\n    3: 4,\n}\n"),
]


@pytest.mark.parametrize(("plain", "explained"), PROSE)
def test_comments_docstrings_and_layout_do_not_change_the_digest(tree, plain, explained):
    script, root = tree
    (root / "pkg/used.py").write_text(plain)
    before = source_digest(script, root)
    (root / "pkg/used.py").write_text(explained)
    assert source_digest(script, root) == before


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


@pytest.mark.parametrize(("one", "other"), STATEMENTS)
def test_statements_that_do_something_else_change_it(tree, one, other):
    script, root = tree
    (root / "pkg/used.py").write_text(one)
    before = source_digest(script, root)
    (root / "pkg/used.py").write_text(other)
    assert source_digest(script, root) != before
