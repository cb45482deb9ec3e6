"""OrtSAE (Korznikov et al. 2025) as a plugin: the built-in ``orthogonality``, written densely."""

import torch

import sdlcore as sdl


@sdl.loss_term("ortsae")
def ortsae(inputs: sdl.TermInputs, *, ortsae_chunk: int = 1024) -> torch.Tensor:
    """Return the mean over latents of the largest cosine with another decoder column of a chunk, squared."""
    unit = torch.nn.functional.normalize(inputs.model.W_dec)
    order = torch.randperm(len(unit), generator=torch.Generator().manual_seed(inputs.step))
    cosines = [rows @ rows.T - 2 * torch.eye(len(rows)) for rows in unit[order].split(ortsae_chunk)]
    return torch.cat([each.amax(dim=1) for each in cosines]).clamp(min=0).square().mean()
