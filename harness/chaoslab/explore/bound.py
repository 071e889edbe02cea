"""What was not seen: how often at most something happens that so many executions did not show.

"Nothing was found" says little without a number. For `failures` of `runs` this is the exact bound
of Clopper and Pearson, one-sided, at 95%: the share of failing executions at which so few failures
would come about in one campaign of twenty. It speaks of the scenarios that were drawn, in the
proportions in which they were drawn, and of nothing else.

>>> words(0, 10_000)
'0 of 10,000: below 0.03% at 95%'
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal
from math import exp, expm1, fsum, lgamma, log, log1p
from typing import Final

from chaoslab.core.errors import UsageError

_MISSED: Final = 0.05  # what is left of 95%
_STEPS: Final = 200


def bound(failures: int, runs: int, /) -> float:
    """The upper bound of the share of failures, from 0 to 1.

    >>> round(bound(0, 10), 6), round(bound(1, 10), 6), bound(3, 3)
    (0.258866, 0.394163, 1.0)
    """
    if runs < 0 or not 0 <= failures <= runs:
        raise UsageError(
            "so many executions cannot have failed",
            value=f"{failures} of {runs}",
            allowed="0 or more, and not more than were executed",
        )
    if failures == runs:
        return 1.0
    if failures == 0:  # (1 - p) ** runs == 5%
        return -expm1(log(_MISSED) / runs)
    low, high = failures / runs, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _at_most(failures, runs, middle) > _MISSED:
            low = middle
        else:
            high = middle
    return high


def _at_most(failures: int, runs: int, share: float) -> float:
    """How likely it is that so many or fewer of `runs` fail."""
    whole, yes, no = lgamma(runs + 1), log(share), log1p(-share)
    return fsum(
        exp(whole - lgamma(k + 1) - lgamma(runs - k + 1) + k * yes + (runs - k) * no)
        for k in range(failures + 1)
    )


def words(failures: int, runs: int, /) -> str:
    """The bound as it is printed, rounded up, so that the sentence stays true.

    >>> words(3, 250), words(2, 2), words(0, 0)
    ('3 of 250: below 3.1% at 95%', '2 of 2: no bound', '0 of 0: no bound')
    """
    share = bound(failures, runs)
    seen = f"{failures:,} of {runs:,}"
    if share >= 1.0:
        return f"{seen}: no bound"
    up = Context(prec=2, rounding=ROUND_CEILING)
    percent = up.create_decimal(Decimal(share) * 100)
    if percent >= 100:
        return f"{seen}: no bound"
    text = f"{percent:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{seen}: below {text}% at 95%"
