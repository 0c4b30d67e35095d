"""What the search of the site puts first: mkdocs.yml names this hook.

Whoever searches wants to do something: pages to start with and guides come first, then what
explains and compares; the reference and the measurements have all words, and come last.
"""

from __future__ import annotations

from typing import Any

BOOST = {"Start": 8, "Guides": 8, "Understand": 2, "Coming from": 2}
LEAST = 0.5


def on_page_content(html: str, *, page: Any, **_: Any) -> str:
    """Says in the page's own data, which the search reads later, what it weighs."""
    section = page.ancestors[-1].title if page.ancestors else ""
    page.meta.setdefault("search", {})["boost"] = BOOST.get(section, LEAST)
    return html
