"""Settings of sources and the code that reads them."""

import pytest

from offline.settings import ClipTraining
from sdlcore.benches.config import BenchSource
from sdlcore.extraction.clip_config import ClipSource
from sdlcore.extraction.config import LanguageSource
from sdlcore.sources.files.extraction import FileSource
from sdlstudy.configuration.schema import schema


@pytest.mark.parametrize(
    ("group", "part"),
    [
        ("Bench", BenchSource),
        ("Clip", ClipSource),
        ("ClipTraining", ClipTraining),
        ("Language", LanguageSource),
        ("File", FileSource),
    ],
)
def test_models_of_sources_and_the_code_that_reads_them_agree_on_settings_and_defaults(group, part):
    properties = schema()["$defs"][group]["properties"]
    for name, field in part.model_fields.items():
        default = None if field.is_required() else field.default
        default = list(default) if isinstance(default, tuple) else default
        assert properties[name].get("default") == default, f"{group}.{name}"
