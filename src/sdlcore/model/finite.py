"""Find weights that are not finite: NaN activates no latent, so that a loss or a score may look good with them."""

from sdlcore.model.sparse_coder import SparseCoder


def not_finite(model: SparseCoder) -> str | None:
    """Return the first weight that is NaN or infinite, such as ``W_enc[3, 5] is nan``, or None."""
    for name, value in model.state_dict().items():
        wrong = ~value.isfinite()
        if bool(wrong.any()):
            place = wrong.nonzero()[0].tolist()
            where = f"[{', '.join(map(str, place))}]" if place else ""
            return f"{name}{where} is {float(value[tuple(place)]):g}"
    return None
