"""How much a run had to do with each tool: what a promise about a tool can rest on.

>>> from chaoslab.history import Op
>>> ops = [Op(index=0, time_ns=0, type="invoke", f="tools.refund", marker="o-1", attempt=1),
...        Op(index=1, time_ns=0, type="event", f="nemesis.strike", call=0)]
>>> usage(View(ops))
{'refund': {'actions': 1, 'tries': 1, 'effects': 0, 'struck': 1}}
"""

from __future__ import annotations

from chaoslab.history import View
from chaoslab.history.view import tool_of


def usage(view: View, /) -> dict[str, dict[str, int]]:
    """Per tool: its actions, the tries of them, what was committed, and strikes that hit one."""
    found: dict[str, dict[str, int]] = {}
    for (tool, _), entry in view.operations().items():
        row = found.setdefault(tool, {"actions": 0, "tries": 0, "effects": 0, "struck": 0})
        row["actions"] += bool(entry.attempts or entry.commits)
        row["tries"] += len(entry.attempts)
        row["effects"] += len(entry.commits)
    for strike in view.named("nemesis.strike"):
        tool = tool_of(view[strike.call]) if 0 <= strike.call < len(view) else ""
        if tool in found:
            found[tool]["struck"] += 1
    return dict(sorted(found.items()))
