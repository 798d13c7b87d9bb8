"""How the pages are made: templates that escape what people wrote, and files of ours that stand inside them."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def page_environment() -> Environment:
    """The templates of this room; text is escaped, and a name that no page was given is an error."""
    return Environment(
        loader=PackageLoader("stages", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def own_file(environment: Environment, name: str) -> Markup:
    """A file of this room as it is, for a style sheet or a script inside a page.

    Args:
        environment: From `page_environment`.
        name: Of the file.
    """
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])
