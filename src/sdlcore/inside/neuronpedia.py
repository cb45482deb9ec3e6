"""Convert latents to the format of Neuronpedia's client (https://www.neuronpedia.org), package ``neuronpedia`` 1.2.1.

This module does not need torch, so another machine can send a saved upload.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdlcore.inside.contexts import Context
    from sdlcore.inside.features import Feature, Features, Interval

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

    @classmethod
    def of(
        cls, pages: "Features", block: int, model_id: str, name: str, description: str | None, url: str | None
    ) -> "Upload":
        """Convert feature pages; arguments as of `Pages.to_neuronpedia`."""
        features = [_neuronpedia_feature(feature) for feature in pages.features]
        batches = [features[at : at + FEATURES_AT_ONCE] for at in range(0, len(features), FEATURES_AT_ONCE)]
        source_set = {"name": name, "model_id": model_id, "description": description or pages.title, "url": url}
        return cls(source_set, block - 1, batches)

    @property
    def source(self) -> str:
        return f"{self.layer}-{self.source_set['name']}"

    def save(self, path: str | Path) -> None:
        """Write the upload to a JSON file, whole or not at all."""
        # imported here, since sending needs none of our dependencies
        from sdlcore.storage.files import user_path, write_json

        write_json(user_path(path), asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> "Upload":
        """Read a file that `save` wrote."""
        from sdlcore.storage.files import user_path

        return cls(**json.loads(user_path(path).read_text(encoding="utf-8")))

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


def _neuronpedia_feature(feature: "Feature") -> dict[str, Any]:
    """Convert a latent to Neuronpedia's ``Feature``."""
    up, down = feature.logits or ([], [])
    return {
        "index": feature.latent,
        "density": feature.density,
        "top_logits": [{"token": token, "value": value} for token, value in up],
        "bottom_logits": [{"token": token, "value": value} for token, value in down],
        "activations": [
            *(_activation(context) for context in feature.contexts),
            *(_activation(context, part) for part in feature.intervals for context in part.contexts),
        ],
    }


def _activation(context: "Context", interval: "Interval | None" = None) -> dict[str, Any]:
    """Convert a context to Neuronpedia's ``Activation``, which groups the contexts of one interval."""
    # fewer digits make the upload smaller, which has millions of numbers
    values = [float(f"{value:.4g}") for value in context.values]
    activation: dict[str, Any] = {"tokens": list(context.tokens), "values": values}
    if interval is not None:
        activation |= {"quantileMin": interval.low, "quantileMax": interval.high, "quantileFraction": interval.share}
    return activation
