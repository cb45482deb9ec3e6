"""SynthSAEBench's distribution: draw true features, and samples without end."""

from typing import Any, Self

from sdlcore.api.known_features import KnownFeatures, Part
from sdlcore.interop.synthetic import Coefficients, FeatureVectors, synth_for_saelens
from sdlcore.settings import Seed, Total, checked
from sdlcore.sources.bench.samples import Samples
from sdlcore.sources.synth.sampler import synthesise
from sdlcore.sources.synth.settings import SynthSource
from sdlcore.sources.synth.world import World


class SynthBench(KnownFeatures):
    """Synthetic data with SynthSAEBench's distribution (arXiv 2602.14687).

    Features are nested in trees, correlated and unequally frequent. `docs/benches.md` describes the distribution and
    its two versions.

    Parameters
    ----------
    world
        The features and their distribution; `draw` draws them.
    """

    def __init__(self, world: World) -> None:
        self.settings: SynthSource = world.source
        self.seed, self.W_p, self.W_r = world.seed, world.W_p, None
        self.world = world
        self._samplers = {part: world.sampler(part) for part in ("train", "test")}
        self._rows = world.W_p.T.copy()

    @property
    def hierarchy(self) -> None:
        """None, since the metric ``absorption`` is defined for the Linear Representation Bench only."""

    @classmethod
    def draw(cls, *, seed: int = 0, **settings: Any) -> Self:
        """Return a bench whose features are drawn now; `samples` draws its samples.

        The pipeline draws the same features and samples for the same settings and seed.

        Parameters
        ----------
        seed
            Seed of features and samples.
        **settings
            Settings of ``sources.synth``: ``n``, ``n_p``, ``roots``, ``version``, ...

        Raises
        ------
        ValueError
            If a setting is unknown or out of range, or contradicts another.
        """
        source, seed = SynthSource.from_dict(settings), checked("seed", Seed, seed)
        for key, problem in source.inconsistencies():
            raise ValueError(f"{key}: {problem}")
        return cls(World.draw(source, seed))

    def samples(self, n_samples: int, part: Part = "train", first: int = 0) -> Samples:
        """Return samples with their coefficients: ``input`` and ``features``; ``target`` is None.

        Parameters
        ----------
        n_samples
            Number of samples.
        part
            ``train``, or ``test`` for the samples that `evaluate` uses.
        first
            Number of the first sample. A sample depends only on the bench, the part and its number, so successive
            calls can draw any number of samples that were never seen before.

        Raises
        ------
        ValueError
            If the part is unknown, ``n_samples`` is below 1, or ``first`` is negative.
        """
        checked("part", Part, part)
        checked("n_samples", Total, n_samples)
        checked("first", Seed, first)
        x = self._samplers[part].coefficients(first, n_samples)
        return Samples(synthesise(x, self._rows, self.world.distribution.bias), None, x)

    def to_saelens(self) -> tuple[FeatureVectors, Coefficients]:
        """Return the features and a sample generator for SAELens' ``eval_sae_on_synthetic_data``.

        The generator's samples are in neither of the parts ``train`` and ``test``.
        """
        return synth_for_saelens(self.world)

    def __repr__(self) -> str:
        """Return the main settings on one line."""
        s = self.settings
        return f"SynthBench(n={s.n}, n_p={s.n_p}, roots={s.roots}, version={s.version}, seed={self.seed})"
