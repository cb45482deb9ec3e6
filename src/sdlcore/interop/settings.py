"""Settings of a run that imports its dictionary from a file."""

from typing import Literal

from sdlcore.settings import Pair, Settings


class ImportConfig(Settings):
    """Location of a dictionary to import. The dictionary's settings are read from its file."""

    model: str = ""
    """Load this dictionary instead of training one (docs/exporting.md): a file, a folder, or OWNER/NAME at the hub."""
    format: Literal["sdlcore", "saelens", "dictionary_learning", "sparsify"] | None = None
    """Its format: sdlcore, saelens, dictionary_learning or sparsify; None to detect it by file names."""
    subfolder: str = ""
    """Folder of the dictionary inside model."""
    revision: str | None = None
    """The hub's branch, tag or commit; None for the newest."""

    @property
    def pair(self) -> Pair:
        """The pair is always sae, which every source supports. The dictionary's own pair is checked when it is
        loaded."""
        return "sae"
