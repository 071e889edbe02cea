"""Everything that a campaign leaves for people and other tools, made from its folder alone.

`results.json` is the truth; the page, JUnit, NDJSON and the comment say the same in other forms, so
they can be made again at any time, elsewhere, or from the shards of several machines.

>>> FILES
('report.html', 'junit.xml', 'events.ndjson', 'comment.md')
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chaoslab.report.comment import comment
from chaoslab.report.compare import compare
from chaoslab.report.events import lines
from chaoslab.report.files import write_text
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
        write_text(target / name, text)
    return [page, *(target / name for name in texts)]
