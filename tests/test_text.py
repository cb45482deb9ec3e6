"""Display names in messages and figures."""

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sdlcore.text import in_figure, listed, printable, printable_lines, short_text
from tests.hostile import NAMES


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("cat", "cat"),
        ("Größe 猫\u3000と犬", "Größe 猫\u3000と犬"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("odd\udcff.png", r"odd\udcff.png"),
        ("\x9b1m", r"\x9b1m"),
    ],
)
def test_a_terminal_obeys_no_name(text, printed):
    assert printable(text) == printed
    assert printable_lines(f"x\n{text}").startswith("x\n")


def test_a_message_repeats_a_name_in_part_and_the_first_of_many():
    assert short_text("W_enc") == "W_enc"
    assert short_text("\x1b[2J\u202e") == r"\x1b[2J\u202e"
    assert short_text("x" * 10_000) == f"{'x' * 59}…"
    assert listed([]) == "none"
    assert listed(f"x{i:02}" for i in range(99)) == "x00, x01, x02, x03, x04, x05, x06, x07, x08, x09, ..."


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_draws_a_name_letter_by_letter(name):
    figure = Figure()
    drawn = figure.text(0, 0, in_figure(name, 3000))
    line, is_mathematics = drawn._preprocess_math(drawn.get_text())
    assert not is_mathematics
    assert line.removeprefix(" ") == printable(" ".join(name.split())).removeprefix(" ")
    drawn.set_text(in_figure(name))
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        FigureCanvasAgg(figure).draw()
