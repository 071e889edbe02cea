"""The bound on what was not seen: exact, rounded up, and said in one line."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from chaoslab.core.errors import UsageError
from chaoslab.explore.bound import bound, words


def exact_tail(failures: int, runs: int, share: Fraction) -> Fraction:
    """How likely so many failures or fewer are, without any rounding."""
    no = 1 - share
    return sum(
        (comb(runs, k) * share**k * no ** (runs - k) for k in range(failures + 1)), Fraction(0)
    )


@pytest.mark.parametrize(
    ("failures", "runs"),
    [(0, 1), (0, 10), (0, 10_000), (1, 10), (1, 500), (5, 10), (9, 10), (3, 250), (40, 300)],
)
def test_the_bound_is_where_so_few_failures_are_one_campaign_of_twenty(
    failures: int, runs: int
) -> None:
    share = Fraction(bound(failures, runs))
    slack = Fraction(1, 10**9)
    if runs <= 500:
        assert exact_tail(failures, runs, share * (1 + slack)) < Fraction(1, 20)
        assert exact_tail(failures, runs, share * (1 - slack)) > Fraction(1, 20)
    else:
        assert float((1 - share) ** runs) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize(
    ("failures", "runs", "share"),
    # One-sided 95% limits as tables of Clopper and Pearson give them.
    [(0, 10, 0.2589), (1, 10, 0.3942), (2, 20, 0.2826), (0, 59, 0.0495), (5, 100, 0.1023)],
)
def test_known_values(failures: int, runs: int, share: float) -> None:
    assert round(bound(failures, runs), 4) == share


def test_many_executions_are_no_trouble() -> None:
    assert bound(2_000, 4_000) == pytest.approx(0.5131, abs=1e-4)
    assert 0 < bound(1, 10**9) < 5e-9


@pytest.mark.parametrize(
    ("failures", "runs", "text"),
    [
        (0, 10_000, "0 of 10,000: below 0.03% at 95%"),
        (0, 1_000, "0 of 1,000: below 0.3% at 95%"),
        (0, 10, "0 of 10: below 26% at 95%"),
        (0, 3, "0 of 3: below 64% at 95%"),
        (0, 1, "0 of 1: below 95% at 95%"),
        (0, 0, "0 of 0: no bound"),
        (7, 7, "7 of 7: no bound"),
        (999, 1_000, "999 of 1,000: no bound"),
    ],
)
def test_words(failures: int, runs: int, text: str) -> None:
    assert words(failures, runs) == text


@pytest.mark.parametrize("runs", range(1, 60))
def test_what_is_printed_is_never_below_the_bound(runs: int) -> None:
    for failures in range(runs):
        text = words(failures, runs)
        if "no bound" not in text:
            assert float(text.split("below ")[1].split("%")[0]) / 100 >= bound(failures, runs)


@pytest.mark.parametrize(("failures", "runs"), [(-1, 3), (4, 3), (0, -1)])
def test_numbers_that_cannot_be_are_refused(failures: int, runs: int) -> None:
    with pytest.raises(UsageError, match="cannot have failed"):
        bound(failures, runs)
