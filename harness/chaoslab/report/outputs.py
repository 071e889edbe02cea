"""Everything that a campaign leaves for people and other tools, made from its folder alone.

`results.json` is the truth; the page, JUnit, NDJSON and the comment say the same in other forms, so
they can be made again at any time, elsewhere, or from the shards of several machines.

>>> FILES
('report.html', 'junit.xml', 'events.ndjson', 'comment.md')
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chaoslab.core.errors import LabError, mend_disk
from chaoslab.report.comment import comment
from chaoslab.report.compare import compare
from chaoslab.report.events import lines
from chaoslab.report.junit import junit_xml
from chaoslab.report.page import write_page
from chaoslab.run.store import read_results

FILES: Final = ("report.html", "junit.xml", "events.ndjson", "comment.md")


def write_outputs(
    folder: Path,
    /,
    *,
    shown: str,
    against: Mapping[str, Any] | None = None,
    unmasked: bool = False,
    into: Path | None = None,
) -> list[Path]:
    """Writes all of `FILES` for a campaign and returns their paths.

    `shown` is the folder as a person would type it, for commands that go on from here; `against`
    are the results of an older campaign; `into` is where they go, if not into the folder itself.
    LabError where the disk refuses: what was there before stays.
    """
    results = read_results(folder)
    target = folder if into is None else into
    changes = None if against is None else compare(against, results).to_json()
    page = write_page(
        folder, unmasked=unmasked, against=changes, out=target / "report.html", shown=shown
    )
    texts = {
        "junit.xml": junit_xml(results, folder=shown),
        "events.ndjson": "".join(line + "\n" for line in lines(results)),
        "comment.md": comment(results, against=against, folder=shown),
    }
    for name, text in texts.items():
        _write(target / name, text)
    return [page, *(target / name for name in texts)]


def _write(path: Path, text: str) -> None:
    """Writes a file whole or not at all. A lone surrogate has no place in UTF-8 and is replaced."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(text.encode("utf-8", "replace"))
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise LabError(
            f"{path} cannot be written: {error.strerror}",
            hint=f"{mend_disk(error)}, and make it again with chaoslab report",
        ) from None
