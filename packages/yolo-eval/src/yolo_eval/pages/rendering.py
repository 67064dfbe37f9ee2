"""Pages from templates: whatever is put into one is escaped, and a page loads nothing and runs
nothing, which its Content-Security-Policy holds the browser to.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@functools.lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("yolo_eval", "pages/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> Markup:
    """A piece of a page. values: what the template names; only `Markup` is taken as it is."""
    return Markup(_environment().get_template(template).render(**values))


def render_page(template: str, **values: Any) -> str:
    """A whole page, which carries its style sheet and names that as the only one allowed."""
    environment = _environment()
    style = environment.get_template("style.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(template).render(style=Markup(style), policy=policy, **values)
