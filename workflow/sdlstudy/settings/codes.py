"""Settings of a run whose codes come from a search, on the decoder rows of a training."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from sdlcore.settings import Settings, Total


class CodesConfig(Settings):
    """Codes by search for the dictionary of another method, which ``warm_start`` names."""

    called: ClassVar[str] = "settings of codes by search"
    always_given: ClassVar[tuple[str, ...]] = ("search",)

    search: Literal["posterior"] = "posterior"
    """Replace the encoder of warm_start's dictionary by a search for codes, as `sdl.search` does: posterior."""
    samples: Total = 65_536
    """Number of training samples that the statistics of latents are estimated on, and of samples of a round."""
    rounds: Annotated[int, Ge(0), Le(1000)] = 0
    """Rounds that replace unused latents by features found in residuals, and then refit all rows, as `sdl.refine` does.
    They read the batches after the training's last. 0 for none, or at least 4, since the last three add no latent."""

    def check_together(self) -> None:
        if 0 < self.rounds < 4:
            raise ValueError(f"rounds must be 0 or at least 4, since the last three add no latent; found {self.rounds}")

    @property
    def pair(self) -> Literal["sae"]:
        """The pair is always sae, since a search reads the target."""
        return "sae"
