"""The command that solves for one dictionary and leaves the files of a run, as `sdlcore.training.command` does."""

import logging
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from sdlcore.data.batches import BatchReader
from sdlcore.data.pairs import pair_sites
from sdlcore.data.reading import content_digest, open_checked
from sdlcore.model.saving import load_model, save_model
from sdlcore.random_streams import stream, torch_stream
from sdlcore.solvers.settings import SolverConfig
from sdlcore.solvers.solve import solve
from sdlcore.storage.files import provenance, sha256_of, write_json
from sdlcore.training import normalisation
from sdlcore.training.arguments import run_parser
from sdlcore.training.history import History, csv_file
from sdlcore.training.watch import recovery_watch


def main(script: str, description: str | None, argv: list[str] | None = None) -> None:
    """Solve by command line arguments.

    Parameters
    ----------
    script
        File of the script that this is called from; its code counts as the run's.
    description
        What the script is for.
    argv
        Arguments; None for the process's own.
    """
    parser = run_parser(description)
    parser.add_argument("--start", metavar="MODEL", help="a model whose dictionary the solver starts from")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    torch.set_num_threads(args.threads)
    config = SolverConfig.from_dict(args.settings)
    inputs = {"store": content_digest(args.store), "start": sha256_of(args.start) if args.start else None}
    if args.watch:
        inputs["watch"] = sha256_of(args.watch)
    facts = provenance(script, settings=config.to_dict(), seed=args.seed, inputs=inputs, device="cpu")
    if config.solver == "odl":
        facts["versions"]["scikit-learn"] = version("scikit-learn")
    Path(args.model).parent.mkdir(parents=True, exist_ok=True)
    with open_checked(args.store) as store:
        sites = pair_sites(config.pair, store.n_p, store.n_r)
        reader = BatchReader(
            store, config.pair, min(config.batch_size, store.rows), partial(stream, args.seed, "order")
        )
        if config.normalise:
            scaling = normalisation.fit(store, config.pair)
        else:
            scaling = normalisation.identity(*(sum(widths) for widths in sites))
        start = None
        if args.start:
            start = load_model(args.start).W_dec.detach()
            if start.shape[1] != sum(sites[1]):
                raise ValueError(f"{args.start}: atoms of {start.shape[1]} dimensions, but x_r has {sum(sites[1])}")
            start = start * scaling.scale_r

        def pairs(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            x_p, x_r = reader(step)
            first = torch.from_numpy(x_p)
            return first, first if x_r is x_p else torch.from_numpy(x_r)

        with History(sinks=[partial(csv_file, args.history)]) as history:
            generator = torch_stream(args.seed, "initialisation")
            watch = recovery_watch(args.watch, config.pair) if args.watch else None
            model = solve(pairs, config, sites, generator, scaling, history, start, watch)
    scaling.fold(model)
    facts["threads"] = args.threads
    write_json(args.config, facts)
    save_model(args.model, model, facts)
