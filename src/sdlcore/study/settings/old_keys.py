"""Deprecated keys of configurations and kept runs, which still work (CONTRIBUTING.md, Deprecations)."""

import logging

from sdlcore.pipeline import Json, deprecation_notice
from sdlcore.study.settings.trees import Tree, merge

log = logging.getLogger(__name__)

OLD_KEYS = {"sources": {"llama": "language"}}
"""Sections of a configuration, and in each the deprecated keys with their new names."""


def with_new_keys(config: Tree, file: str | None = None) -> dict[str, Json]:
    """Return a configuration with its deprecated keys renamed, and log a notice for each.

    A section may have both keys. They are merged, and the new one takes precedence.

    Parameters
    ----------
    config
        The configuration as written.
    file
        The file that the configuration was read from, for the notice.
    """
    renamed = dict(config)
    for section, keys in OLD_KEYS.items():
        found = config.get(section)
        if not isinstance(found, dict) or not keys.keys() & found.keys():
            continue
        for key in sorted(keys.keys() & found.keys()):
            where = "" if file is None else f"{file}: "
            log.warning("%s%s", where, deprecation_notice(f"{section}.{key}", f"{section}.{keys[key]}"))
        kept = {key: value for key, value in found.items() if key not in keys}
        renamed[section] = merge({keys[key]: value for key, value in found.items() if key in keys}, kept)
    return renamed
