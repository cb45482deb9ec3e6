"""Settings of a SAELens synthetic model as a source.

The module does not import numpy, so that checking a configuration is fast.
"""

from pathlib import Path

from sdlcore.settings import Settings, Text, Total
from sdlcore.sources.synth.settings import Size

CONFIG, WEIGHTS, HIERARCHY = "synthetic_model_config.json", "synthetic_model.safetensors", "hierarchy.json"
"""Files that ``SyntheticModel.save`` writes; the last one only if features are nested."""


class SaelensSource(Settings):
    """A synthetic model that SAELens saved (``SyntheticModel.save``)."""

    model: Text
    """Folder of the model."""
    n: Size
    """Number of features, num_features in SAELens."""
    n_p: Size
    """Dimension of samples, hidden_dim in SAELens."""
    train_samples: Total = 100000
    """Number of training samples."""
    test_samples: Total = 10000
    """Number of held-out samples for evaluation."""

    @property
    def files(self) -> list[str]:
        """The files of the model, with ``hierarchy.json`` if it exists."""
        folder = Path(self.model)
        nested = [HIERARCHY] if (folder / HIERARCHY).exists() else []
        return [str(folder / name) for name in (CONFIG, WEIGHTS, *nested)]
