"""Files of other libraries."""

import pytest

from sdlcore.errors import SourceError
from sdlcore.storage.external_json import read_object


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "contains a list, expected a JSON object"),
        (None, "no such file"),
    ],
)
def test_what_is_no_object_is_refused_by_its_file(text, message, tmp_path):
    if text is not None:
        (tmp_path / "cfg.json").write_text(text)
    with pytest.raises((SourceError, FileNotFoundError), match=rf"cfg\.json: {message}"):
        read_object(tmp_path / "cfg.json")
