from pathlib import Path

import pytest

from sdlcore.storage.paths import user_path


def test_a_tilde_is_the_home_folder_and_other_names_stay(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x") == user_path(Path("~/x")) == tmp_path / "x"
    assert user_path("~") == tmp_path
    for name in (".", "a/~", "a~b", "~nobody-has-this-name/x", "/~/x", "owner/name"):
        assert str(user_path(name)) == name


def test_an_empty_path_is_refused_by_the_name_of_the_argument():
    with pytest.raises(ValueError, match=r"out is empty, expected a path; the working folder is '\.'"):
        user_path("", "out")
