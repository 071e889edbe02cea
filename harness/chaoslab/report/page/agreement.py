"""The agreement table as one HTML file that needs nothing else, and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup

from chaoslab.report.agreement import answer, word_of
from chaoslab.report.page.render import environment, hash_of, style_text

_LOOKS: Final = {
    "agrees": "ok",
    "not-applicable": "none",
    "left-out": "none",
    "idle": "warn",
    "not-run": "warn",
    "differs": "bad",
    "could-not-run": "bad",
}
_ROLES: Final = (
    ("planted", "Planted bugs", "The check that each was planted for must be broken there too."),
    ("reference", "The reference agent", "It must hold in every packaged scenario."),
    ("right", "Agents that are right in another way", "They must hold wherever they run."),
)


def agreement_html(results: Mapping[str, Any], /) -> str:
    """The page of what `chaoslab agree` found; `results` is its `agreement.json`."""
    style = style_text()
    tables = []
    for role, title, words in _ROLES:
        rows = [row for row in results["rows"] if row["role"] == role]
        if rows:
            tables.append({"title": title, "words": words, "rows": rows})
    code = results["exit_code"]
    return (
        environment()
        .get_template("agreement.html")
        .render(
            policy=f"default-src 'none'; style-src {hash_of(style)}; base-uri 'none'",
            style=Markup(style),  # noqa: S704
            version=results["version"],
            answer={"look": {0: "ok", 3: "warn"}.get(code, "bad"), "code": code},
            says=answer(results),
            ways=results["ways"],
            seeds=results["seeds"],
            tables=tables,
            looks=_LOOKS,
            word_of=word_of,
        )
    )
