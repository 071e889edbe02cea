"""Writes what people and other tools read: a file is there whole or not at all.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     write_text(Path(folder) / "x.txt", "half a character: \\ud800")
...     (Path(folder) / "x.txt").read_text(encoding="utf-8")
'half a character: ?'
"""

from __future__ import annotations

import os
from pathlib import Path

from chaoslab.core.errors import LabError, mend_disk


def write_text(path: Path, text: str, /) -> None:
    """Writes a file in UTF-8, in which a lone surrogate has no place and becomes a question mark.
    LabError where the disk refuses; what was there before stays."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(text.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise LabError(
            f"{path} cannot be written: {error.strerror}",
            hint=f"{mend_disk(error)}, and make it again with chaoslab report",
        ) from None
