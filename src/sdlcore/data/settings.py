"""Settings of class means. The module does not import numpy, so that checking a configuration is fast."""

from sdlcore.settings import Settings, Total


class ClassMeans(Settings):
    """Class means, which dictionaries are evaluated against and anchored to (eq. 22 and 23)."""

    centred: bool = True
    """Subtract the mean of all activations from the class means, as training with normalise does."""
    min_class_size: Total = 10
    """Classes with fewer training samples are left out."""
