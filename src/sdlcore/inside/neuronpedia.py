"""Convert latents to the format of Neuronpedia's client (https://www.neuronpedia.org), package ``neuronpedia`` 1.2.1.

This module does not need torch, so another machine can send a saved upload.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FEATURES_AT_ONCE = 128
"""Largest number of features in one batch for Neuronpedia."""


@dataclass(frozen=True)
class Upload:
    """Features for Neuronpedia's client to upload."""

    source_set: dict[str, str | None]
    """Arguments for the client's ``SourceSet.new``: name, model_id, description, url."""
    layer: int
    """Block, counted from 0 as at Neuronpedia. The source is called LAYER-NAME."""
    batches: list[list[dict[str, Any]]]
    """Features in batches. Each has index, density, top_logits, bottom_logits and activations."""

    @property
    def source(self) -> str:
        return f"{self.layer}-{self.source_set['name']}"

    def save(self, path: str | Path) -> None:
        """Write the upload to a JSON file, whole or not at all."""
        from sdlcore.storage.files import write_json  # imported here, since sending needs none of our dependencies

        write_json(Path(path).expanduser(), asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> "Upload":
        """Read a file that `save` wrote."""
        return cls(**json.loads(Path(path).expanduser().read_text(encoding="utf-8")))

    def send(self) -> list[Any]:
        """Create the source set and upload every batch with Neuronpedia's client; return its answers.

        The client (``pip install neuronpedia``) must find an API key, e.g. in the variable NEURONPEDIA_API_KEY. The
        model must exist at Neuronpedia (the client's ``Model.new`` creates one).
        """
        from neuronpedia.np_source_set import SourceSet

        source_set = SourceSet.new(**self.source_set)
        source = source_set.get_source_for_layer_number(self.layer)
        return [source.upload_batch([self._feature(feature) for feature in batch]) for batch in self.batches]

    def _feature(self, feature: Mapping[str, Any]) -> Any:
        """Convert a feature to the client's class."""
        from neuronpedia.np_activation import Activation
        from neuronpedia.np_feature import Feature, Logit

        ids = (self.source_set["model_id"], self.source, feature["index"])
        return Feature(
            *ids,
            density=feature["density"],
            top_logits=[Logit(**logit) for logit in feature["top_logits"]],
            bottom_logits=[Logit(**logit) for logit in feature["bottom_logits"]],
            activations=[Activation(*ids, **activation) for activation in feature["activations"]],
        )


def neuronpedia_feature(feature: Any) -> dict[str, Any]:
    """Convert a latent (`Feature`) to arguments of Neuronpedia's class, which groups contexts by their interval."""
    activations = [_activation(context) for context in feature.contexts]
    for part in feature.intervals:
        bounds = {"quantileMin": part.low, "quantileMax": part.high, "quantileFraction": part.share}
        activations += [_activation(context) | bounds for context in part.contexts]
    up, down = feature.logits or ([], [])
    return {
        "index": feature.latent,
        "density": feature.density,
        "top_logits": [{"token": token, "value": value} for token, value in up],
        "bottom_logits": [{"token": token, "value": value} for token, value in down],
        "activations": activations,
    }


def _activation(context: Any) -> dict[str, Any]:
    # fewer digits make the upload smaller, which has millions of numbers
    return {"tokens": list(context.tokens), "values": [float(f"{value:.4g}") for value in context.values]}
