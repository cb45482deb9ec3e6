"""Train transcoders for all layers of SmolLM2-135M, and attribute a logit to their features by circuit-tracer.

    python -m studies.synthetic.circuits fit results/circuits
    python studies/synthetic/circuits.py attribute MODEL results/circuits/transcoders "The capital of France is" OUT

``fit`` writes stores of activations, a run for each layer, the set in ``transcoders``, and ``fvu.csv`` with scores on
held-out articles. The same call resumes an interrupted one.

``attribute`` runs in an environment with circuit-tracer, without sdlcore. MODEL is a folder with a Llama. Its path must
not contain "llama", for which TransformerLens asks the hub. OUT gets the strongest paths (``nodes.csv``,
``edges.csv``), the parts of the logit (``parts.csv``) and two ablations (``ablations.csv``), whose changes check edges.
"""

import argparse
import csv
import heapq
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

LAYERS = range(1, 31)
TOKENS = {"train": 31_000, "test": 2_048}
SETTINGS: dict[str, Any] = {
    "activation": "batchtopk",
    "k": 16,
    "n_q": 1024,
    "steps": 250,
    "batch_size": 512,
    "lr": 3e-3,
    "normalise": True,
    "bias": True,
}
"""circuit-tracer opens BatchTopK as JumpReLU, with the threshold that training measured."""
CPU = torch.device("cpu")
Key = tuple[int, int, int]
"""Layer from 0, position and feature."""


def open_model(folder: Path, transcoders: Path) -> Any:
    """Open a local Llama with a set of transcoders."""
    from circuit_tracer import ReplacementModel
    from circuit_tracer.utils.hf_utils import load_transcoder_from_hub
    from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES
    from transformers import PreTrainedTokenizerFast

    OFFICIAL_MODEL_NAMES.append(str(folder))  # TransformerLens opens only models of this list
    # with these two names, TransformerLens does not open the tokenizer again, which newer transformers saved
    once = {"name_or_path": str(folder), "add_bos_token": True}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **once, **special_tokens(folder))
    found, _ = load_transcoder_from_hub(
        transcoders.name, cache_dir=str(transcoders.parent), device=CPU, lazy_decoder=False
    )
    return ReplacementModel.from_pretrained_and_transcoders(str(folder), found, device=CPU, tokenizer=tokenizer)


def special_tokens(folder: Path) -> dict[str, str]:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    return {name: config[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token") if config.get(name)}


class Attributed:
    """A prompt's graph for its most likely next token, whose node is the last one."""

    def __init__(self, model: Any, prompt: str, batch_size: int = 64) -> None:
        from circuit_tracer import attribute

        self.model = model
        self.graph = attribute(prompt, model, max_n_logits=1, batch_size=batch_size)
        self.tokens = self.graph.input_tokens
        self.edges = self.graph.adjacency_matrix
        """Targets x sources: features, errors by layer and position, token embeddings, the logit."""
        self.features: list[Key] = [tuple(row) for row in self.graph.active_features.tolist()]
        self.n_features = len(self.features)
        self.n_errors = len(model.blocks) * len(self.tokens)
        self.target = self.graph.logit_targets[0].vocab_idx

    def parts(self) -> dict[str, float]:
        """Return the parts of the logit, minus the mean logit."""
        row = self.edges[-1]
        return {
            "features": float(row[: self.n_features].sum()),
            "errors": float(row[self.n_features : self.n_features + self.n_errors].sum()),
            "token embeddings": float(row[self.n_features + self.n_errors : -1].sum()),
            **self.constants(),
        }

    def constants(self) -> dict[str, float]:
        """Return the parts that have no node: decoder biases, and MLP outputs at the first token.

        circuit-tracer takes no feature and no error from the first token. The gradient of its linear model gives both.
        """
        outputs, gradients = {}, {}

        def keep(value: torch.Tensor, hook: Any) -> None:
            outputs[hook.layer()] = value.detach()

        def keep_gradient(value: torch.Tensor, hook: Any) -> None:
            gradients[hook.layer()] = value.detach()

        names = [f"blocks.{layer}.{self.model.feature_output_hook}" for layer in range(len(self.model.blocks))]
        with self.model.hooks([(name, keep) for name in names], [(name, keep_gradient) for name in names]):
            logits = self.model(self.tokens[None])[0, -1]
            (logits[self.target] - logits.mean()).backward()
        first, biases = 0.0, 0.0
        for layer, gradient in gradients.items():
            first += float((gradient[0, 0] * outputs[layer][0, 0]).sum())
            biases += float((gradient[0, 1:] @ self.model.transcoders[layer].b_dec.detach()).sum())
        return {"decoder biases": biases, "MLP outputs at the first token": first}

    @torch.no_grad()
    def logit(self) -> float:
        """Return the logit of the target, minus the mean logit."""
        logits = self.model(self.tokens[None])[0, -1]
        return float(logits[self.target] - logits.mean())

    def strongest(self) -> list[tuple[int, int]]:
        """Return source and target of the strongest edge from a feature to the logit, and between features.

        Between features, it is the edge with the largest share in an edge to the logit. A feature's incoming edges
        sum to its activation, apart from biases.
        """
        n, logit = self.n_features, len(self.edges) - 1
        to_logit = self.edges[logit, :n]
        shares = self.edges[:n, :n] * (to_logit / self.graph.activation_values)[:, None]
        target, source = divmod(int(shares.argmax()), n)
        return [(int(to_logit.argmax()), logit), (source, target)]

    def ablation(self, source: int, target: int) -> dict[str, Any]:
        """Set a feature to zero; compare the change of a node with its edge, and with the change in the free model.

        The change is that of a logit, or of a feature before its activation function. In the frozen model, attention
        patterns, norms and the outputs of other MLPs are as without ablation, so that only the edge remains.
        """
        layer, position, feature = self.features[source]
        change = [(layer, position, feature, 0.0)]
        everything = range(len(self.model.blocks))
        read = self._logit if target == len(self.edges) - 1 else self.features[target]
        before = self._run([], read)
        return {
            "source": self.label(source),
            "target": self.label(target),
            "value": float(self.graph.activation_values[source]),
            "edge": float(self.edges[target, source]),
            "frozen_change": self._run(change, read, constrained_layers=everything) - before,
            "free_change": self._run(change, read, freeze_attention=False) - before,
        }

    def _logit(self, logits: torch.Tensor, _: torch.Tensor) -> float:
        return float(logits[0, -1, self.target] - logits[0, -1].mean())

    def _run(self, interventions: list[Any], read: Any, **options: Any) -> float:
        logits, features = self.model.feature_intervention(
            self.tokens, interventions, apply_activation_function=False, **options
        )
        return read(logits, features) if callable(read) else float(features[read])

    def label(self, node: int) -> str:
        if node < self.n_features:
            layer, position, feature = self.features[node]
            return f"feature {feature} of layer {layer + 1} at {self.token(position)}"
        node -= self.n_features
        if node < self.n_errors:
            layer, position = divmod(node, len(self.tokens))
            return f"error of layer {layer + 1} at {self.token(position)}"
        node -= self.n_errors
        return f"token {self.token(node)}" if node < len(self.tokens) else f"logit of {self.token_text(self.target)}"

    def token(self, position: int) -> str:
        return self.token_text(int(self.tokens[position]))

    def token_text(self, token: int) -> str:
        return repr(self.model.tokenizer.decode([token]))

    def strongest_paths(self, nodes: int) -> tuple[list[list[Any]], list[list[Any]]]:
        """Return rows of the nodes on the strongest paths to the logit, and of all edges between them.

        A path's strength is the product of its edges, each divided by the sum of all its target's edges, in absolute
        values. All tokens are among the nodes.
        """
        shares = self.edges.abs() / self.edges.abs().sum(1, keepdim=True).clamp(min=1e-12)
        first_token, logit = self.n_features + self.n_errors, len(self.edges) - 1
        kept = set(range(first_token, logit))
        waiting = [(-1.0, logit)]
        while waiting and len(kept) < nodes:
            strength, target = heapq.heappop(waiting)
            kept.add(target)
            for source in shares[target].topk(min(nodes, logit)).indices.tolist():
                if source not in kept:
                    heapq.heappush(waiting, (strength * float(shares[target, source]), source))
        edges = [
            [source, target, float(self.edges[target, source])]
            for target in sorted(kept)
            for source in sorted(kept)
            if self.edges[target, source] != 0
        ]
        return [[node, *self._place(node), self.label(node)] for node in sorted(kept)], edges

    def _place(self, node: int) -> tuple[str, int, int]:
        """Return kind, layer from 1 (0: an embedding) and position of a node."""
        if node < self.n_features:
            layer, position, _ = self.features[node]
            return "feature", layer + 1, position
        node -= self.n_features
        if node < self.n_errors:
            layer, position = divmod(node, len(self.tokens))
            return "error", layer + 1, position
        node -= self.n_errors
        last = len(self.tokens) - 1
        return ("token", 0, node) if node <= last else ("logit", len(self.model.blocks) + 1, last)


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        plain = csv.writer(file, lineterminator="\n")
        plain.writerow(header)
        plain.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)


def fit(folder: Path) -> None:
    """Train a transcoder for each layer, and export the set for circuit-tracer."""
    import sdlcore as sdl
    from sdlcore.storage.files import write_rows
    from studies.rows_and_codes.real import MODEL, articles, cached

    train, test = (
        sdl.extract(
            cached(MODEL),
            articles(part),
            at=[(f"mlp_in.{layer - 1}", f"mlp_out.{layer - 1}") for layer in LAYERS],
            out=folder / part,
            max_tokens=n,
        )
        for part, n in TOKENS.items()
    )
    transcoders, rows = [], [["layer", "l0", "fvu"]]
    for layer, x, held_out in zip(LAYERS, train, test, strict=True):
        transcoders.append(sdl.fit(x, pair="transcoder", out=folder / f"runs/layer_{layer}", **SETTINGS))
        scores = sdl.evaluate(transcoders[-1], x=held_out, nulls=False)
        rows.append([str(layer), f"{scores['l0']:.3g}", f"{scores['fvu']:.3g}"])
    sdl.export_set(transcoders, "circuit_tracer", folder / "transcoders", model_name="SmolLM2-135M-Instruct")
    write_rows(folder / "fvu.csv", rows)


def attribute_logit(model: Path, transcoders: Path, prompt: str, out: Path, n_nodes: int) -> None:
    """Write the paths, parts and ablations of a prompt's most likely next token."""
    from circuit_tracer.graph import compute_graph_scores

    found = Attributed(open_model(model, transcoders), prompt)
    out.mkdir(parents=True, exist_ok=True)
    nodes, edges = found.strongest_paths(n_nodes)
    write(out / "nodes.csv", ["node", "kind", "layer", "position", "label"], nodes)
    write(out / "edges.csv", ["source", "target", "weight"], edges)
    ablations = [found.ablation(*edge) for edge in found.strongest()]
    write(out / "ablations.csv", list(ablations[0]), [list(one.values()) for one in ablations])
    replacement, completeness = compute_graph_scores(found.graph)
    parts = found.parts()
    facts = {
        "target": found.token_text(found.target),
        "probability": float(found.graph.logit_probabilities[0]),
        "logit minus the mean": found.logit(),
        **parts,
        "sum of the parts": sum(parts.values()),
        "active features": found.n_features,
        "replacement score": replacement,
        "completeness score": completeness,
        **{name: version(name) for name in ("circuit-tracer", "transformer-lens", "transformers", "torch")},
    }
    write(out / "parts.csv", ["part", "value"], list(facts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fit").add_argument("folder", type=Path)
    attribution = commands.add_parser("attribute")
    for name, kind in (("model", Path), ("transcoders", Path), ("prompt", str), ("out", Path)):
        attribution.add_argument(name, type=kind)
    attribution.add_argument("--nodes", type=int, default=40, help="nodes to write")
    asked = parser.parse_args()
    if asked.command == "fit":
        fit(asked.folder)
    else:
        attribute_logit(asked.model, asked.transcoders, asked.prompt, asked.out, asked.nodes)


if __name__ == "__main__":
    main()
