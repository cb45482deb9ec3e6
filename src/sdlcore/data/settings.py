"""Settings of the means of classes. Without numpy: configurations are checked by them."""

from dataclasses import dataclass

from sdlcore.settings import FromJson, Total


@dataclass(frozen=True)
class ClassMeans(FromJson):
    """Directions that dictionaries are judged against and anchored to (eq. 22 and 23)."""

    centred: bool = False
    """Take the mean of all activations from those of the classes first; for training on centred activations
    (normalise)."""
    min_class_size: Total = 10
    """Classes with fewer training samples are left out."""
