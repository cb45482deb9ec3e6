"""Splice a trained dictionary into its language model, and show where in the text its latents are most active."""

import argparse
import logging
from itertools import islice
from pathlib import Path

import torch

from sdlcore.data.reading import content_digest, open_checked
from sdlcore.device import choose_device
from sdlcore.evaluation.contexts import latents_to_show, page, snippets, top_activating
from sdlcore.evaluation.language import loss_recovered, mean_of
from sdlcore.model.saving import load_model
from sdlcore.sources.language.checkpoints import load_tokenizer, load_whole, open_checkpoint
from sdlcore.sources.language.corpus import open_text
from sdlcore.sources.language.forward import RowKinds
from sdlcore.sources.language.settings import LlamaSource
from sdlcore.sources.language.tokens import contexts_of
from sdlcore.storage.files import atomic_path, provenance, sha256_of, write_json


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", nargs=5, metavar=("SOURCE", "METHOD", "PROTOCOL", "ANCHORING", "SEED"), required=True)
    parser.add_argument("--dictionary", required=True, help="trained model.safetensors")
    parser.add_argument("--store", required=True, help="evaluation store that the source wrote")
    parser.add_argument("--model", required=True, help="the source's language model")
    parser.add_argument("--text", required=True, help="the source's text")
    parser.add_argument("--contexts", type=int, default=64, help="held-out contexts that losses are measured on")
    parser.add_argument("--latents", type=int, default=12, help="latents to show")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--page", required=True, type=Path, help="Markdown file to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    coder = load_model(args.dictionary).to(device)
    with open_checked(args.store) as store:
        facts = store.provenance
        source = LlamaSource.from_dict(facts["source"])
        checkpoint = open_checkpoint(args.model, facts["model"].get("commit"))
        tokenizer = load_tokenizer(checkpoint.folder)
        text = open_text(args.text, source.text_options._replace(revision=facts["text"].get("commit")))
        latents = latents_to_show(coder, store, args.latents)
        peaks = top_activating(coder, store, latents)
        mean = mean_of(store, "target" if coder.config.pair == "transcoder" else "input")

    found = iter(snippets([peak for its in peaks.values() for peak in its], text, tokenizer))
    shown = {latent: list(islice(found, len(its))) for latent, its in peaks.items()}
    losses = None
    if coder.config.pair != "crosscoder":
        contexts = contexts_of(text.documents(facts["first_place"]), tokenizer, source.context_length)
        losses = loss_recovered(
            load_whole(checkpoint.folder, source.dtype).to(device),
            lambda x: coder(x).x_hat,
            islice(contexts, min(args.contexts, facts["contexts"])),
            source.sites,
            coder.config.pair,
            RowKinds(facts["separator"]["id"], facts["largest_norm"], source.drop),
            torch.from_numpy(mean),
        )
        logging.info("%s", losses)

    name, method, protocol, anchoring, seed = args.cell
    cell = {"source": name, "method": method, "protocol": protocol, "anchoring": anchoring, "seed": int(seed)}
    content = {
        "run": cell,
        "loss": None if losses is None else losses._asdict(),
        "latents": {latent: [snippet.to_dict() for snippet in its] for latent, its in shown.items()},
        "provenance": provenance(
            __file__, inputs={"dictionary": sha256_of(args.dictionary), "store": content_digest(args.store)}
        ),
    }
    with atomic_path(args.page) as part:
        part.write_text(page(f"{name}, {method}, {anchoring}, seed {seed}: most active tokens", shown))
    write_json(args.output, content)


if __name__ == "__main__":
    main()
