"""Templates of pages: whatever is put into them is escaped, and a name that they lack is an error."""

import jinja2


def templates(room: str) -> jinja2.Environment:
    """Return the Jinja environment with the templates of a package, such as ``sdlcore.study.report``."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(room, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
