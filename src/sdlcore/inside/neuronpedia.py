"""Convert latents to the format of Neuronpedia's client (https://www.neuronpedia.org), package ``neuronpedia`` 1.2.1.

This module does not need torch, so another machine can send a saved upload.
"""

import json
from collections.abc import Mapping, Sequence
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
        from sdlcore.storage.paths import user_path

        write_json(user_path(path), asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> "Upload":
        """Read a file that `save` wrote."""
        from sdlcore.storage.paths import user_path

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


def upload_of(
    features: Sequence[dict[str, Any]],
    layer: int,
    model_id: str,
    name: str,
    description: str | None = None,
    url: str | None = None,
) -> Upload:
    """Split features into batches for Neuronpedia, and return them as an upload.

    Parameters
    ----------
    features
        As in `Upload.batches`.
    layer
        Block, counted from 0.
    model_id, name, description, url
        Settings of the source set.
    """
    batches = [list(features[at : at + FEATURES_AT_ONCE]) for at in range(0, len(features), FEATURES_AT_ONCE)]
    source_set = {"name": name, "model_id": model_id, "description": description, "url": url}
    return Upload(source_set, layer, batches)
