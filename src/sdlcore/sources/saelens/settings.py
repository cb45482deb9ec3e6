"""Settings of a source that is a synthetic model of SAELens. Without numpy: configurations are checked by them."""

from dataclasses import dataclass
from pathlib import Path

from sdlcore.settings import FromJson, Text, Total
from sdlcore.sources.synth.settings import Size

CONFIG, WEIGHTS, HIERARCHY = "synthetic_model_config.json", "synthetic_model.safetensors", "hierarchy.json"
"""The files that ``SyntheticModel.save`` writes; the last one only where features are nested."""


@dataclass(frozen=True)
class SaelensSource(FromJson):
    """A synthetic model that SAELens saved (``SyntheticModel.save``)."""

    model: Text
    """Its folder."""
    n: Size
    """Its number of features, num_features there."""
    n_p: Size
    """Its dimension, hidden_dim there."""
    train_samples: Total = 100000
    """Samples for training."""
    test_samples: Total = 10000
    """Samples for evaluation that training does not see."""

    @property
    def files(self) -> list[str]:
        """The files of the model; ``hierarchy.json`` only if it is there."""
        folder = Path(self.model)
        nested = [HIERARCHY] if (folder / HIERARCHY).exists() else []
        return [str(folder / name) for name in (CONFIG, WEIGHTS, *nested)]
