"""Figure 6: training with and without resampling of dead latents."""

from collections.abc import Iterator

from pydantic import Field

from sdlstudy.products.product import Picture
from sdlstudy.settings.cells import Cell, trained_settings
from sdlstudy.settings.fields import Identifier
from sdlstudy.settings.files import Files
from sdlstudy.settings.names import METHOD, PROTOCOL, unknown
from sdlstudy.settings.study import Study


class Figure6(Picture):
    """Loss with and without resampling of dead latents."""

    keys = ("figures.figure6",)
    title = "Training with and without resampling of dead latents"
    caption = (
        "Thin lines are seeds, thick lines their means. Numbers above the lowest panel count resampled latents (mean "
        "over seeds). Resampled latents start at badly reconstructed samples, so the loss can jump before it falls. "
        "They count as alive until they have been silent for long enough again."
    )

    source: Identifier
    without: Identifier
    """A method that does not resample."""
    with_: Identifier = Field(alias="with")
    """The same method with resampling."""
    protocol: Identifier = "best"

    def sides(self) -> dict[str, str]:
        """Return the method of each side, ``without`` and ``with`` resampling."""
        return {"without": self.without, "with": self.with_}

    def runs(self, study: Study, side: str) -> list[Cell]:
        """Return the runs of one side, ``with`` or ``without``."""
        return [Cell(self.source, self.sides()[side], self.protocol, "none", seed) for seed in study.seeds]

    def cells(self, study: Study) -> list[Cell]:
        return list(dict.fromkeys([*self.runs(study, "without"), *self.runs(study, "with")]))

    def at_most(self, study: Study) -> int:
        return 2 * len(study.seeds)

    def unknown_names(self, path: str, study: Study) -> Iterator[str]:
        yield from unknown(f"{path}.source", [self.source], study.all_sources(), "a source")
        yield from unknown(f"{path}.protocol", [self.protocol], study.protocols, PROTOCOL)
        for side, method in self.sides().items():
            yield from unknown(f"{path}.{side}", [method], study.methods, METHOD)

    def unsound(self, path: str, study: Study) -> Iterator[str]:
        for side, method in self.sides().items():
            kind = study.methods[method]
            if kind.is_given or kind.is_peer:
                yield f"{path}.{side}: {method} is {kind.origin}, expected a method that is trained here"
                continue
            try:
                every = trained_settings(study, self.runs(study, side)[0]).training.resample_every
            except ValueError:  # settings that exclude each other, which another check reports
                continue
            if (every is not None) != (side == "with"):
                expected = "set" if side == "with" else "null"
                yield f"{path}.{side}: method {method} must have resample_every {expected}"

    def inputs(self, files: Files) -> list[str]:
        runs = self.cells(files.study)
        return [file for cell in runs for file in (files.history(cell), files.metrics(cell))]

    def make(self, files: Files) -> None:
        import logging

        from sdlstudy.rendering.figure6 import figure6, figure6_summary, read_histories
        from sdlstudy.rendering.labels import label_method

        study = files.study
        histories = {
            side: read_histories([files.run(cell) for cell in self.runs(study, side)]) for side in self.sides()
        }
        rows = figure6_summary(histories)
        every = study.methods[self.with_].resample_every
        labels = {
            "with": f"resampled every {every} steps" if every else self.with_,
            "without": "not resampled",
        }
        figure = figure6(histories, labels, f"{label_method(self.without)}, on {self.source}")
        self.write(files, figure, rows)
        logging.info("figure 6 of %d runs:\n%s", len(rows), rows.to_string(index=False))
