"""Open every autoencoder of sdlcore in SAELens: importing this module registers a class for `SAE.load_from_disk`.

    import sdlcore.saelens
    from sae_lens import SAE

    sae = SAE.load_from_disk("exported")

`sdlcore.export` writes SAELens' own classes where they compute the same latents. It writes this class for posterior
codes, LISTA, matching pursuit, activations of plugins, and transcoders whose activation has no class. The module needs
sae-lens.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from sae_lens import SAE, SAEConfig, register_sae_class
from torch import Tensor

from sdlcore.interop.saelens import ARCHITECTURE
from sdlcore.model.saving import empty_model


@dataclass
class SdlcoreConfig(SAEConfig):
    """Configuration of `SdlcoreSAE`."""

    d_out: int | None = None
    """Dimension of a transcoder's output; None for an autoencoder."""
    dictionary: dict[str, Any] = field(default_factory=dict)
    """The settings of the dictionary's model, as `sdlcore.model.saving.description_of` returns them."""

    @classmethod
    def architecture(cls) -> str:
        return ARCHITECTURE


class SdlcoreSAE(SAE[SdlcoreConfig]):
    """A dictionary of sdlcore in SAELens. Its submodule ``coder`` is the `sdlcore.SparseCoder` that computes latents.

    The encoder may take several steps, so there is no single pre-activation (``hook_sae_acts_pre``), and nothing is
    folded into the weights. Its latents depend only on their own sample, in training mode, too.
    """

    def initialize_weights(self) -> None:
        with torch.device(self.device):
            self.coder = empty_model(self.cfg.dictionary)
        # counts of a training are in no file, so SAELens would leave them on the meta device
        self.coder.silent = torch.zeros(self.coder.config.n_q, dtype=torch.int64, device="cpu")

    def _apply(self, *arguments: Any, **options: Any) -> "SdlcoreSAE":
        super()._apply(*arguments, **options)
        self.coder.float()  # latents are computed in float32, whatever the dtype of inputs and outputs
        return self

    @property
    def W_enc(self) -> Tensor:
        """d_in x d_sae."""
        return self.coder.W_enc.T.to(self.dtype)

    @property
    def W_dec(self) -> Tensor:
        """d_sae x d_out; d_out is d_in for an autoencoder."""
        return self.coder.W_dec.to(self.dtype)

    @property
    def b_enc(self) -> Tensor:
        return self.coder.b_enc.to(self.dtype)

    @property
    def b_dec(self) -> Tensor:
        return self.coder.b_dec.to(self.dtype)

    def train(self, mode: bool = True) -> "SdlcoreSAE":
        super().train(mode)
        self.coder.eval()
        return self

    def process_sae_in(self, sae_in: Tensor) -> Tensor:
        # SAELens' own would subtract zero times b_dec, whose width differs from the input's in a transcoder
        return self.hook_sae_input(self.reshape_fn_in(sae_in.to(self.dtype)))

    def encode(self, x: Tensor) -> Tensor:
        sae_in = self.process_sae_in(x)
        latents = self.coder.encode(sae_in.flatten(0, -2).float()).to(self.dtype)
        return self.hook_sae_acts_post(latents.unflatten(0, sae_in.shape[:-1]))

    def decode(self, feature_acts: Tensor) -> Tensor:
        return self.reshape_fn_out(self.hook_sae_recons(feature_acts @ self.W_dec + self.b_dec), self.d_head)

    def fold_and_get_W_dec_norm(self) -> Tensor:
        raise NotImplementedError("a fold into the weights may change the latents of this encoder")

    def fold_activation_norm_scaling_factor(self, scaling_factor: float) -> None:
        self.fold_and_get_W_dec_norm()

    def fold_activation_whitening(self, *statistics: Tensor) -> None:
        self.fold_and_get_W_dec_norm()


register_sae_class(ARCHITECTURE, SdlcoreSAE, SdlcoreConfig)
