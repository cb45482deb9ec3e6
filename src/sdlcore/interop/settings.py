"""Settings of a run whose dictionary is opened from a file: one frozen dataclass, flat like those of `sdlcore.run`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from sdlcore.settings import FromJson, Json, Pair


@dataclass(frozen=True)
class ImportConfig(FromJson):
    """The file of a dictionary of another library. Its settings are read from the file."""

    called: ClassVar[str] = "settings of an imported dictionary"

    model: str = ""
    """Open this dictionary instead of training one (docs/exporting.md): a file, a folder, or OWNER/NAME at the hub."""
    format: Literal["sdlcore", "saelens", "dictionary_learning", "sparsify"] | None = None
    """Its format: sdlcore, saelens, dictionary_learning or sparsify; None to tell by the names of files."""
    subfolder: str = ""
    """The folder in it that holds the dictionary."""
    revision: str | None = None
    """The hub's branch, tag or commit; None for the newest."""

    @property
    def pair(self) -> Pair:
        """The one that needs nothing of a source: which it is, is known when it is opened, and checked then."""
        return "sae"

    @property
    def sigma_parts(self) -> tuple[str, ...]:
        """All activations, since any may be meant."""
        return ("sdlcore.interop.any_activation",)

    @property
    def parts(self) -> tuple[str, ...]:
        """The modules that the run imports by names in its settings."""
        return self.sigma_parts

    def used(self) -> dict[str, Json]:
        """Return the flat settings; all of them count."""
        return self.to_dict()
