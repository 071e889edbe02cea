"""From the parts of a report to one file: templates, style, script, data, and nothing from outside.

The page opens from a disk, from a mail, from the artifacts of a pipeline. So everything is in it,
and because an agent's words are in it too, a policy inside the file allows this one script and
this one style sheet by their hashes, and nothing else: a hostile string that found a way through
the escaping would still be refused by the browser.

>>> hash_of("") == "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
True
>>> spoken("a\\u202eb\\nc").split("\\n")[-1]
'c'
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from chaoslab.core.visible import visible

_HERE: Final = Path(__file__).parent
_ASSETS: Final = _HERE / "assets"
# In this order: the drawings, then the run list, then the shell that starts them all.
_SCRIPTS: Final = ("history*.js", "spacetime*.js", "lineage*.js", "entries*.js", "runs*.js")
_SHELL: Final = "shell.js"
_CHUNK_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


def page_html(context: Mapping[str, Any], /) -> str:
    """The whole page. `context` is what `sections.context_of` makes, with `chunks`: name to
    Base64 text."""
    style, script = style_text(), script_text()
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {hash_of(script)}",
            f"style-src {hash_of(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    for name in context["chunks"]:
        assert _CHUNK_NAME.fullmatch(name), name
    # Our own files alone are written as they are.
    own = {"style": Markup(style), "script": Markup(script)}  # noqa: S704
    return environment().get_template("page.html").render(**context, **own, policy=policy)


@cache
def style_text() -> str:
    """All style sheets as one."""
    return "".join(_read(path) for path in sorted(_ASSETS.glob("*.css")))


@cache
def script_text() -> str:
    """All scripts as one, the shell last, since it starts the others."""
    paths = [path for pattern in _SCRIPTS for path in sorted(_ASSETS.glob(pattern))]
    text = "".join(_read(path) for path in [*dict.fromkeys(paths), _ASSETS / _SHELL])
    assert "</script" not in text.lower() and "<!--" not in text
    return text


def hash_of(text: str, /) -> str:
    """A source as a content security policy names it."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def spoken(value: object, /) -> object:
    """What a template writes: a text with its control and direction characters made visible, so
    that no word of an agent can reorder or hide a line. Line breaks stay line breaks."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value, lines=True)
    return value


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() + "\n"


@cache
def environment() -> Environment:
    """Where templates come from; all that they write is escaped and made visible."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates", encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=spoken,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters["plural"] = plural
    environment.filters["thousands"] = thousands
    return environment


def plural(number: int, one: str, many: str = "") -> str:
    """A number and its word.

    >>> plural(1, "run"), plural(0, "run"), plural(12_000, "breach", "breaches")
    ('1 run', '0 runs', '12,000 breaches')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def thousands(number: int) -> str:
    """A number with commas.

    >>> thousands(1234567)
    '1,234,567'
    """
    return f"{number:,}"
