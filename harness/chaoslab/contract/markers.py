"""The marker: the token by which an action is recognised whatever its key or wording.

>>> tool = ToolContract(name="refund", identity_fields=("order",))
>>> marker_of(tool, {"order": "o-7", "reason": "broken"})
'o-7'
>>> marker_of(tool, {"order": {"id": 7}})
'{"id":7}'
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaoslab.contract.model import ToolContract
from chaoslab.core.jsons import canonical, digest


def marker_of(tool: ToolContract, args: Mapping[str, Any], /) -> str:
    """The marker of a request: its identity fields joined by `/`, or, for a tool that names
    none, a digest of all its arguments. A field may be a path such as `body.order_id`."""
    if not tool.identity_fields:
        return digest(dict(args))
    parts = [_text(field_of(args, path)) for path in tool.identity_fields]
    if len(parts) == 1:
        return parts[0]
    # Escaped as in a JSON pointer, so that ("a/b", "c") and ("a", "b/c") stay apart.
    return "/".join(p.replace("~", "~0").replace("/", "~1") for p in parts)


def field_of(args: Mapping[str, Any], path: str, /) -> Any:
    """An argument by its name or by a path such as `body.order_id`; None where there is none."""
    if path in args:
        return args[path]
    found: Any = args
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)
