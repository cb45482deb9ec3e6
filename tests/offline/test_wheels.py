"""Wheel references, and fetching single files out of wheels."""

import zipfile
from pathlib import Path

import pytest

from offline.wheels import fetch_wheel_file, parse_reference
from sdlcore.errors import SourceError
from sdlcore.storage.files import sha256_of
from tests.refusals import rows

REFERENCE = "wheel:Some-Text==1.2#some_text/data/words.txt"
WORDS = b"a few words\n"
WHEEL = "some_text-1.2-py3-none-any.whl"


@pytest.fixture
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def make_wheel(folder: Path, name: str = "some_text-1.2-py3-none-any.whl") -> Path:
    """Write a wheel by hand that would do harm if it were imported or unpacked."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("some_text/__init__.py", "raise SystemExit('imported')\n")
        archive.writestr("some_text/data/words.txt", WORDS)
        archive.writestr("../outside.txt", "out of the folder")
    return folder / name


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "reference",
    [
        *("some-text==1.2#words.txt", "wheel:some-text#words.txt", "wheel:some-text>=1.2#words.txt"),
        *("wheel:some-text==1.2", "wheel:some-text==1.2#", "wheel:--index-url==1.2#words.txt"),
        *("wheel:some/text==1.2#words.txt", "wheel:some-text==../1#words.txt"),
    ],
)
def test_malformed_reference_is_refused(reference: str):
    with pytest.raises(SourceError, match="is not a wheel reference: write wheel:<distribution>==<version>#"):
        parse_reference(reference)


@pytest.mark.usefixtures("no_registry")
@pytest.mark.parametrize("name", ["some_text-1.2-py3-none-any.whl", "Some.Text-1.2-cp311-cp311-linux_x86_64.whl"])
def test_wheel_put_by_hand_is_used_and_only_the_member_copied(name: str, tmp_path: Path):
    folder = tmp_path / "wheels"
    wheel = make_wheel(folder, name)
    path = fetch_wheel_file(REFERENCE, sha256_of(wheel), folder)
    assert path == folder / "Some-Text-1.2/words.txt"
    assert path.read_bytes() == WORDS
    assert files_below(tmp_path) == sorted([f"wheels/{name}", "wheels/Some-Text-1.2/words.txt"])


def damaged(folder: Path) -> None:
    content = make_wheel(folder).read_bytes()
    place = content.index(name := b"some_text/data/words.txt") + len(name) + 2
    (folder / WHEEL).write_bytes(content[:place] + b"\xff" + content[place + 1 :])


NO_WHEEL = r"some_text-1\.2-py3-none-any\.whl: not readable as a wheel"
REFUSED = [
    (
        "missing member",
        make_wheel,
        "wheel:some-text==1.2#some_text/wrong.txt",
        None,
        r"no item named 'some_text/wrong\.txt'",
    ),
    ("wrong checksum", make_wheel, REFERENCE, "0" * 64, rf"SHA-256 is \w+, but {'0' * 64} is pinned"),
    ("damaged", damaged, REFERENCE, None, NO_WHEEL),
    (
        "another version",
        lambda folder: make_wheel(folder, "some_text-1.3-py3-none-any.whl"),
        REFERENCE,
        None,
        r"Some-Text==1\.2 could not .*put the wheel file some_text-1\.2-\*\.whl into \S+/wheels by hand",
    ),
]


@pytest.mark.usefixtures("no_registry")
@pytest.mark.parametrize(("write", "reference", "sha256", "message"), rows(REFUSED))
def test_a_wheel_without_the_file_is_refused_and_nothing_written(write, reference, sha256, message, tmp_path):
    (tmp_path / "wheels").mkdir()
    write(tmp_path / "wheels")
    before = files_below(tmp_path)
    with pytest.raises(SourceError, match=message):
        fetch_wheel_file(reference, sha256, tmp_path / "wheels")
    assert files_below(tmp_path) == before


def test_downloaded_wheel_is_checked_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Download through pip for real, from a folder in a registry's place."""
    shop = tmp_path / "shop"
    shop.mkdir()
    wheel = shop / "some_text-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_text/data/words.txt", WORDS)
        archive.writestr("some_text-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-text\nVersion: 1.2\n")
        archive.writestr("some_text-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("some_text-1.2.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    with pytest.raises(SourceError, match="is pinned"):
        fetch_wheel_file(REFERENCE, "0" * 64, tmp_path / "wheels")
    assert files_below(tmp_path / "wheels") == []
    fetch_wheel_file(REFERENCE, sha256_of(wheel), tmp_path / "wheels")
    assert files_below(tmp_path / "wheels") == ["Some-Text-1.2/words.txt"]
