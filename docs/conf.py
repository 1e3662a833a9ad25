"""How Sphinx builds these pages: ``make docs`` puts them into docs/_build/html."""

from __future__ import annotations

import re
from typing import Any

import aioreq

project = "aioreq"
author = "the aioreq authors"
copyright = author  # noqa: A001 - Sphinx's own name
version = release = aioreq.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
default_role = "code"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_use_ivar = True

html_theme = "furo"
html_title = "aioreq"
html_copy_source = False
html_show_copyright = False

# References to other packages lead nowhere here: a build fetches nothing.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(asyncio|builtins|collections|concurrent|contextlib|dataclasses|datetime|dt|http|json|os|ssl|typing)\..*",
    ),
    (
        "py:.*",
        r"(Any|Self|TypeVar|Callable|Awaitable|Iterable|Mapping|Collection|Async\w+|Abstract\w+|\w*Error)",
    ),
    ("py:.*", r"opentelemetry\..*"),
    ("py:.*", r"(aioreq\.(.*\.)?_.*|Ending|Future|Gates|Marks|P|Stream|hashlib\._Hash)"),
]


def _public_name(_app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Lead from the private module a class is written in to its public name."""
    place, _, name = node.get("reftarget", "").rpartition(".")
    domain = env.get_domain("py")
    # aioreq.Upload is what has left; in aioreq.bulk an Upload is an item.
    here = place or node.get("py:module") or ""
    first = ("aioreq.bulk",) if here.startswith("aioreq.bulk") else ()
    rest = ("aioreq", "aioreq.bulk", "aioreq.testing", "aioreq.exceptions")
    for module in (*first, *rest):
        public = f"{module}.{name}"
        if public in domain.objects and public != node["reftarget"]:
            return domain.resolve_xref(
                env, node["refdoc"], env.app.builder, "obj", public, node, contnode
            )
    return None


def _without_setup(_app: Any, _docname: str, content: list[str]) -> None:
    """Leave out what the examples need to run as tests, and keep the lines' numbers."""
    content[0] = re.sub(
        r"^<!-- setup\n.*?^-->$",
        lambda found: "\n" * found[0].count("\n"),
        content[0],
        flags=re.DOTALL | re.MULTILINE,
    )


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _without_setup)
    app.connect("missing-reference", _public_name)
