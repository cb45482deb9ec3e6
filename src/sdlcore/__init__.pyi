from . import plot as plot
from .api.bench import Bench as Bench
from .api.dictionary import Dictionary as Dictionary
from .api.dictionary import load as load
from .api.fitting import class_means as class_means
from .api.fitting import discover as discover
from .api.fitting import fit as fit
from .api.inside import contexts as contexts
from .api.inside import splice as splice
from .api.scoring import Scores as Scores
from .api.scoring import evaluate as evaluate
from .api.standard import standard_bench as standard_bench
from .inside.edits import ablate as ablate
from .inside.edits import steer as steer

__version__: str
