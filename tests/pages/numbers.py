"""Numbers as pages write them."""


def percent(share: float, digits: int = 1) -> str:
    """Return a share in per cent, ".5" without the nought."""
    text = f"{round(100 * share, digits):g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def short(number: float, digits: int = 2) -> str:
    """Return a number without the nought of a number below 1."""
    text = f"{number:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(number) < 1 else text


def signed(number: float, digits: int = 1) -> str:
    """Return a number with its sign, "+.6" without the nought."""
    rounded = round(number, digits)
    text = f"{abs(rounded):g}".removeprefix("0") if 0 < abs(rounded) < 1 else f"{abs(rounded):g}"
    return ("+" if rounded > 0 else "-" if rounded < 0 else "") + text
