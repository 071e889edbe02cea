"""One HTML file that shows a campaign, and needs nothing else.

`write_page` reads a campaign's folder, never the memory of the command that made it: so the same
report can be made again later, on another machine, or from merged shards, and gives the same bytes.

>>> PAGE_FILE
'report.html'
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chaoslab.core.errors import LabError
from chaoslab.report.files import write_text
from chaoslab.report.page.chunks import chunks_of
from chaoslab.report.page.failures import failures_of
from chaoslab.report.page.material import load_material
from chaoslab.report.page.matrix import matrix_of
from chaoslab.report.page.render import page_html
from chaoslab.report.page.sections import context_of

PAGE_FILE: Final = "report.html"


def write_page(
    folder: Path,
    /,
    *,
    unmasked: bool = False,
    against: Mapping[str, Any] | None = None,
    out: Path | None = None,
    shown: str = "",
) -> Path:
    """Makes the report of a campaign; the path of the file.

    `unmasked` shows sensitive values as they are. `against` is a comparison with an older campaign
    (`report.compare`). `out` is another place for the file. `shown` is the folder as a person would
    type it, for the commands on the page. FormatError where the folder holds no
    results that can be read, LabError where the disk refuses.
    """
    try:
        text = _page_of(folder, unmasked=unmasked, against=against, shown=shown)
    except RecursionError:  # the lab records nothing like it
        raise LabError(
            f"{folder} holds values that are nested too deep to be shown",
            hint="look for a history that was not written by chaoslab",
        ) from None
    path = folder / PAGE_FILE if out is None else out
    write_text(path, text)
    return path


def _page_of(folder: Path, *, unmasked: bool, against: Mapping[str, Any] | None, shown: str) -> str:
    material = load_material(folder, unmasked=unmasked)
    failures = failures_of(material, folder=shown or None)
    chunks = chunks_of(material, failures, folder=shown or None)
    context = context_of(
        material.results,
        failures=failures,
        matrix=matrix_of(material.results),
        chunks={name: data.decode("ascii") for name, data in chunks.items()},
        folder=folder.resolve().name,
        against=against,
        unmasked=unmasked,
    )
    return page_html(context)
