"""`Dictionary`: encode, decode, save, load and share a trained dictionary."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np
import scipy.sparse
import torch
from huggingface_hub import ModelCard, ModelHubMixin
from torch import Tensor

from sdlcore.data.anchors import Anchors, load_anchors, save_anchors
from sdlcore.data.conversion import is_pair
from sdlcore.device import choose_device
from sdlcore.dictionary.card import card_of, config_of, fitted_place
from sdlcore.dictionary.run_folder import (
    ANCHORS,
    CONFIG,
    HISTORY,
    finished_run,
    refuse_other_formats,
    run_folder,
)
from sdlcore.dictionary.samples import (
    decode_sparse,
    encode_sparse,
    require_finite,
    require_width,
    samples_of,
)
from sdlcore.extraction.places import described
from sdlcore.interop.formats import OURS, locate
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import check_finite, load_model, load_provenance, save_model
from sdlcore.settings import Json, Pair
from sdlcore.storage.files import user_path, write_json
from sdlcore.training.history import read_history, write_history
from sdlcore.user_warnings import warn_at_call

OUTSIDE = "trained outside sdl.fit"


class Dictionary(ModelHubMixin, library_name="sdlcore", tags=["sparse-autoencoder", "interpretability"]):
    """A trained sparse dictionary that encodes and reconstructs raw activations.

    Latent i has the encoder row ``W_enc[i]`` and the decoder column ``W_dec[i]``:

        latents = sigma(W_enc x_p + b_enc)
        x_r_hat = latents W_dec + b_dec

    Parameters
    ----------
    coder
        The model, in evaluation mode.
    provenance
        How it was made: its identity (stage, settings, seed, inputs), all its settings, and versions. None for a coder
        that was trained outside `fit`, which is then recorded.
    history
        Rows of the training history.
    anchors
        Directions that its first latents were anchored to.

    Attributes
    ----------
    coder
        The underlying `torch.nn.Module`, an `sdlcore.SparseCoder`, which shares its parameters with the coder given.
    provenance, history, anchors
        As given.
    """

    def __init__(
        self,
        coder: SparseCoder,
        provenance: Mapping[str, Json] | None = None,
        history: Sequence[Mapping[str, float]] = (),
        anchors: Anchors | None = None,
    ) -> None:
        if not isinstance(coder, SparseCoder):
            raise ValueError(f"coder is a {type(coder).__name__}, expected an sdl.SparseCoder")
        self.anchors = anchors
        self.provenance: dict[str, Any] = dict(_made_outside(coder) if provenance is None else provenance)
        self.coder = coder.for_raw_activations().eval()
        if provenance is not None:
            self.coder.take_loss(_settings_of_training(provenance))
        self.history = [dict(row) for row in history]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its training by name; for an imported dictionary, the settings of its model.

        Without ``prefixes`` after rounds of mean shift, which leave no nested dictionaries. ``provenance`` contains the
        arguments of a later `search`, `refine` or `reencode`.
        """
        settings = self.provenance.get("settings")
        if not isinstance(settings, dict):
            return self.coder.config.to_dict()
        nested = ("prefixes", "prefix_detached") if "refined" in self.provenance else ()
        return {name: value for name, value in settings.items() if name not in nested}

    @property
    def pair(self) -> Pair:
        """Kind of dictionary: sae, transcoder or crosscoder."""
        return self.coder.config.pair

    @property
    def n_q(self) -> int:
        """Number of latents."""
        return self.coder.config.n_q

    @property
    def W_enc(self) -> Tensor:
        """Encoder rows, n_q x n_p."""
        return self.coder.W_enc.detach()

    @property
    def b_enc(self) -> Tensor:
        """Encoder biases, n_q."""
        return self.coder.b_enc.detach()

    @property
    def W_dec(self) -> Tensor:
        """Decoder columns, stored as rows: n_q x n_r."""
        return self.coder.W_dec.detach()

    @property
    def b_dec(self) -> Tensor:
        """Decoder bias, n_r."""
        return self.coder.b_dec.detach()

    def to(self, device: str | torch.device | torch.dtype) -> Self:
        """Move the dictionary to a device, or convert its weights to another type, in place, and return it.

        Parameters
        ----------
        device
            A device: auto, cpu, cuda, a numbered GPU such as ``cuda:1``, or a `torch.device`. Or a floating-point type,
            such as `torch.float64`.

        """
        self.coder.to(device if isinstance(device, torch.dtype) else choose_device(device))
        return self

    @overload
    def encode(self, x: Tensor, sparse: Literal[False] = False) -> Tensor: ...

    @overload
    def encode(self, x: Any, sparse: Literal[False] = False) -> np.ndarray: ...

    @overload
    def encode(self, x: Any, sparse: Literal[True]) -> scipy.sparse.csr_array: ...

    def encode(self, x: Any, sparse: bool = False) -> Any:
        """Encode samples x_p (... x n_p) to latents (... x n_q), with any leading dimensions, such as batch x position.

        An array, a store, or the path of a store or an .npy file is processed in batches, without gradients, and
        returns an array. A tensor returns a tensor, with gradients. For a crosscoder, give the sites concatenated, as a
        list, or as the input and target of a store.

        Parameters
        ----------
        x
            The samples.
        sparse
            Return only the active latents, as a `scipy.sparse.csr_array` with a row for each sample. Latents are
            computed in batches and without gradients for every kind of ``x``. Neither the dense N x n_q latents nor a
            whole file is loaded into memory.

        Raises
        ------
        ValueError
            If samples are not floating-point numbers, do not have n_p numbers in their last dimension, or contain NaN
            or infinity, which would activate no latent.
        """
        n_p = self.coder.W_enc.shape[1]
        if not sparse:
            return self._mapped(self.coder.encode, x, n_p)
        with samples_of(x, self.pair) as samples:
            require_width(samples.shape, n_p)
            return encode_sparse(self.coder, samples)

    @overload
    def decode(self, latents: Tensor) -> Tensor: ...

    @overload
    def decode(self, latents: np.ndarray | scipy.sparse.sparray) -> np.ndarray: ...

    def decode(self, latents: Any) -> Any:
        """Decode latents (... x n_q) to reconstructions of x_r (... x n_r).

        The leading dimensions stay. The skip connection of a transcoder is not added. A sparse
        matrix (N x n_q) of scipy returns an array, without gradients.

        Raises
        ------
        ValueError
            If latents are not floating-point numbers, do not have n_q numbers in their last dimension, or contain NaN
            or infinity.
        """
        if scipy.sparse.issparse(latents):
            return decode_sparse(self.coder, scipy.sparse.csr_array(latents))
        return self._mapped(self.coder.decode, latents, self.n_q, "latents")

    @overload
    def reconstruct(self, x: Tensor) -> Tensor: ...

    @overload
    def reconstruct(self, x: Any) -> np.ndarray: ...

    def reconstruct(self, x: Any) -> Any:
        """Reconstruct x_r (... x n_r) from samples x_p as in `encode`, with the skip connection of a transcoder.

        Raises
        ------
        ValueError
            For samples that `encode` refuses.
        """
        return self._mapped(lambda block: self.coder(block).x_hat, x, self.coder.W_enc.shape[1])

    __call__ = reconstruct
    """A call reconstructs x_r from x_p, as a call of SAELens' dictionaries does."""

    def _mapped(self, function: Callable[[Tensor], Tensor], x: Any, width: int, name: str = "x") -> Any:
        """Apply a function to samples: to a tensor at once, with gradients; to other samples in batches, without."""
        weights, parts = self.coder.W_enc, x if is_pair(x) else [x]
        if parts and all(isinstance(part, Tensor) and part.is_floating_point() for part in parts):
            joined = torch.cat(tuple(parts), dim=-1)
            require_width(joined.shape, width)
            samples_NW = joined.reshape(-1, width).to(weights.dtype)
            require_finite(samples_NW)
            rows: Any = function(samples_NW)
            return rows.reshape(*joined.shape[:-1], rows.shape[-1])
        with torch.no_grad(), samples_of(x, self.pair, name) as samples:
            require_width(samples.shape, width)
            rows = np.concatenate([function(block).cpu().numpy() for block in samples.blocks(weights)])
        return rows.reshape(*samples.leading, rows.shape[-1])

    def save(self, path: str | Path) -> None:
        """Save the dictionary to a single .safetensors file, or to a folder.

        A folder contains ``model.safetensors``, the provenance (``config.json``), ``history.csv`` and, after an
        anchored training, ``anchors.safetensors``. A single file contains the model and the provenance. Each file is
        written atomically. `load` reads both forms.

        Raises
        ------
        ValueError
            If weights are not finite, the path has the suffix of another kind of file, or the file would replace the
            model.safetensors of another run.
        """
        path = user_path(path)
        check_finite(path, self.coder.state_dict())  # before an existing file is removed
        if path.suffix == ".safetensors":
            if path.name == OURS:
                finished_run(path.parent, self.provenance)  # the folder of another run
            save_model(path, self.coder, self.provenance)
            return
        self._write(path, self.provenance)

    def _write(self, path: Path, config: Mapping[str, Json]) -> None:
        """Write the files of a folder, then ``config``, which makes the folder a finished run."""
        refuse_other_formats(run_folder(path))
        path.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, HISTORY, ANCHORS):
            (path / name).unlink(missing_ok=True)
        save_model(path / OURS, self.coder, self.provenance)
        if self.history:
            write_history(path / HISTORY, self.history)
        if self.anchors is not None:
            save_anchors(path / ANCHORS, self.anchors, {})
        write_json(path / CONFIG, config)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a dictionary that `save`, `save_pretrained` or the pipeline wrote: a file, or a folder.

        Raises
        ------
        ValueError
            If the file is damaged or was not written by sdlcore; the message names it.
        """
        path = user_path(path)
        model = path / OURS if path.is_dir() else path
        history = model.with_name(HISTORY) if path.is_dir() else None
        rows = read_history(history) if history and history.is_file() else []
        anchors = model.with_name(ANCHORS) if path.is_dir() else None
        directions = load_anchors(anchors) if anchors and anchors.is_file() else None
        return cls(load_model(model), load_provenance(model), rows, directions)

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | Path,
        *,
        scores: Mapping[str, float | None] | None = None,
        config: None = None,
        model_card_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Save to a folder as `save` does, with a model card for the Hugging Face hub.

        ``config.json`` also states the architecture in the field's words: architecture, d_in, d_sae, model and hook
        name. `load` and `from_pretrained` read the folder.

        Parameters
        ----------
        save_directory
            Folder to write.
        scores
            Result of `evaluate`, for the card.
        config, model_card_kwargs
            Arguments that `huggingface_hub.ModelHubMixin.push_to_hub` passes. Leave them out.

        Raises
        ------
        ValueError
            If weights are not finite.
        """
        folder = user_path(save_directory, "save_directory")
        check_finite(folder, self.coder.state_dict())  # before an existing file is removed
        if (folder / "README.md").exists():
            warn_at_call(f"{folder}/README.md is kept, and may describe another dictionary; delete it for a new card")
        super().save_pretrained(folder, model_card_kwargs={"scores": scores, **(model_card_kwargs or {})})

    def push_to_hub(self, repo_id: str, *, scores: Mapping[str, float | None] | None = None, **options: Any) -> str:
        """Upload to the Hugging Face hub, with a model card.

        Parameters
        ----------
        repo_id
            ``owner/name``.
        scores
            Result of `evaluate`, for the card.
        options
            Options of `huggingface_hub.ModelHubMixin.push_to_hub`.
        """
        return super().push_to_hub(repo_id, model_card_kwargs={"scores": scores}, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        self._write(save_directory, {**config_of(self.coder, self.provenance), **self.provenance})

    # not _from_pretrained: before calling that, the mixin reads config.json, and passes unknown arguments on unchecked
    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        path_or_repo: str | Path,
        *,
        subfolder: str = "",
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
        revision: str | None = None,
        **options: Any,
    ) -> Self:
        """Load a dictionary from the Hugging Face hub, or from a folder that `save_pretrained` or `save` wrote.

        Parameters
        ----------
        path_or_repo
            A folder, or ``owner/name`` at the hub.
        subfolder
            Folder of the dictionary inside ``path_or_repo``.
        device, dtype
            Where the weights go, and their type, such as ``"float64"``. A CPU computes in float32 or float64.
        revision
            The hub's branch, tag or commit.
        options
            Options of `huggingface_hub.snapshot_download`, such as ``cache_dir``, ``local_files_only`` and ``token``.

        Raises
        ------
        ValueError
            If a file is missing, damaged or was not written by sdlcore; the message names it.
        """
        dictionary = cls.load(locate(user_path(path_or_repo, "path_or_repo"), subfolder, revision, **options))
        return dictionary.to(device).to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)

    def generate_model_card(self, *_: Any, scores: Mapping[str, float | None] | None = None, **__: Any) -> ModelCard:
        """Build the model card: description, usage, metrics, settings and provenance."""
        return card_of(self.coder, self.provenance, self.settings, scores)

    def __repr__(self) -> str:
        """Return pair, activation, L0 of a search and sizes, and the place in the language model if it is known."""
        config = self.coder.config
        search = self.provenance.get("searched", {})
        l0 = f", l0={search['l0']:g}" if search.get("l0") and search["method"] == config.activation else ""
        k = f", k={config.k}" if config.k else ""
        widths = f"n_p={self.coder.W_enc.shape[1]}, n_q={config.n_q}, n_r={self.coder.W_dec.shape[1]}"
        where = fitted_place(self.provenance, config.pair)
        place = "" if where is None else f", {described(where['layer'], where['place'], config.pair)}"
        return f"Dictionary({config.pair}, {config.activation}{l0}{k}, {widths}{place})"


def _made_outside(coder: SparseCoder) -> dict[str, Json]:
    """Return the provenance of a coder that was trained outside `fit`: its settings, and seed if known."""
    settings = coder.config.to_dict() | coder.loss_config.to_dict()
    settings |= {"dead_after": coder.dead_after, "normalise": coder.normalise}
    seed: dict[str, Json] = {} if coder.seed is None else {"seed": coder.seed}
    return {"training": OUTSIDE, "settings": settings, **seed}


def _settings_of_training(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the training that made a dictionary; none for a solver or another library's trainer."""
    settings = provenance.get("settings")
    return settings if isinstance(settings, dict) and not settings.keys() & {"solver", "peer"} else {}
