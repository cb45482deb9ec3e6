"""Names in the pages exist, and numbers in them are right. tests/pages runs the code blocks."""

import pkgutil
import re

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.pages.blocks import GENERATED, pages

PAGES = [str(page.relative_to(REPOSITORY)) for page in pages()]


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_that_pages_name_exist(page):
    text = (REPOSITORY / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    named = re.findall(r"`((?:src|docs|config|workflow|tests|benchmarks|studies|examples|resources)/\w[\w./]+)`", text)
    for path in links:
        target = ((REPOSITORY / page).parent / path).resolve()
        assert target.exists() or str(target.relative_to(REPOSITORY)) in GENERATED, path
    for path in named:
        assert (REPOSITORY / path).exists(), path


def test_names_of_ours_in_docstrings_and_comments_exist():
    sources = [path.read_text() for path in (REPOSITORY / "src").rglob("*.py")]
    names = {name for text in sources for name in re.findall(r"`(sdlcore(?:\.\w+)+)`", text)}
    names.remove("sdlcore.saelens")  # imports SAELens
    assert len(names) > 30
    for name in names:
        assert pkgutil.resolve_name(name)


def test_pages_of_the_site_link_to_nothing_outside_it():
    for page in sorted((REPOSITORY / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).resolve().is_relative_to(REPOSITORY / "docs"), f"{page}: {link}"


def test_the_site_shows_every_page_in_its_navigation():
    class Loader(yaml.SafeLoader):
        """Ignores tags of other libraries."""

    Loader.add_multi_constructor("", lambda *_: None)
    settings = yaml.load((REPOSITORY / "mkdocs.yml").read_text(), Loader=Loader)

    def leaves(items):
        for item in items:
            value = next(iter(item.values())) if isinstance(item, dict) else item
            yield from leaves(value) if isinstance(value, list) else [value]

    pages = {str(path.relative_to(REPOSITORY / "docs")) for path in (REPOSITORY / "docs").rglob("*.md")}
    assert set(leaves(settings["nav"])) == pages | {page.removeprefix("docs/") for page in GENERATED}


def test_pictures_of_the_docs_are_small():
    sizes = {path.name: path.stat().st_size for path in (REPOSITORY / "docs").rglob("*.png")}
    assert sizes
    assert max(sizes.values()) < 60_000, sizes


def test_the_makefile_has_the_targets_that_pages_name():
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    text = "\n".join((REPOSITORY / page).read_text() for page in PAGES)
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, flags=re.MULTILINE))
    assert named <= targets
    assert {"run", "test", "docs"} <= named
    assert len(targets - {"help"}) <= 15
