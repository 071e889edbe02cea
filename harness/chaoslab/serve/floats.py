"""Numbers with a fraction, on their way into a record that cannot hold them.

The text of a float differs between machines, so histories have none. What agents and services
send does: a whole float becomes the integer that it is, any other number its decimal text.

>>> parsed('{"cents": 1200.0, "rate": 0.1, "big": 1e3}')
{'cents': 1200, 'rate': '0.1', 'big': 1000}
>>> without_floats({"share": 0.25, "at": [2.0]})
{'share': '0.25', 'at': [2]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import Json, plain

# A number of more digits stays the text that it came as.
_DIGITS_MAX: Final = 400


def parsed(text: str | bytes, /, *, where: str = "the body") -> Json:
    """The JSON value of a text, without floats. ValueError says what is wrong with it."""
    try:
        value = json.loads(text, parse_float=_number, parse_constant=_no_number)
        return plain(value, where=where)
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except UsageError as error:
        raise ValueError(str(error)) from None


def without_floats(value: Any, /) -> Any:
    """The same value with its floats written otherwise; what is not JSON is left as it is."""
    if isinstance(value, float):
        return _number(repr(float(value))) if isfinite(value) else str(float(value))
    if isinstance(value, Decimal):
        return _number(str(value)) if value.is_finite() else str(value)
    if isinstance(value, Mapping):
        return {key: without_floats(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_floats(part) for part in value]
    return value


def _number(text: str) -> int | str:
    """A whole number as an integer, any other as its shortest decimal text."""
    found = Decimal(text)
    exponent = found.as_tuple().exponent
    if not isinstance(exponent, int) or abs(found.adjusted()) + abs(exponent) > _DIGITS_MAX:
        return text
    if found == found.to_integral_value():
        return int(found)
    return format(found, "f").rstrip("0")


def _no_number(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")
