"""Jinja templates for HTML pages. Values inserted into a template are escaped, and an undefined name is an error."""

from sdlcore.extras import extra

with extra("pages"):
    import jinja2


def templates(room: str) -> jinja2.Environment:
    """Return a Jinja environment for the templates of a package, such as ``sdlstudy.report``."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(room, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
