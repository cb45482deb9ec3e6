"""Tables of benchmarks between the marks of a page."""

from benchmarks.shown import ENDS, show

BEGINS = "<!-- made by a benchmark -->"


def test_the_text_between_the_marks_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGINS}\nold\n{ENDS}\nbelow\n")
    show(page, BEGINS, "new\n")
    assert page.read_text() == f"above\n{BEGINS}\nnew\n{ENDS}\nbelow\n"
