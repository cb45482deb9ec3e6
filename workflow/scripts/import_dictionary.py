"""Import one dictionary that other software trained, as a run."""

from runs.folder import Run, describe
from sdlcore import Dictionary
from sdlcore.command_line import cli
from sdlcore.interop.run_import import import_dictionary
from sdlcore.interop.settings import ImportConfig


def main(run: Run, *, settings: ImportConfig) -> None:
    run.limit_threads()
    result = import_dictionary(settings, run.store, run.watch)
    provenance = describe("import", run, settings, result.files) | {"imported": result.description}
    Dictionary(result.coder, provenance, [result.row]).save(run.out)


if __name__ == "__main__":
    cli(main)
