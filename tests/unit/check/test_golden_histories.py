"""The golden histories: small, on disk, read as any history is read, judged by every check.

A header says which check a history is for, what the contract and the limits are, and, for a
broken one, every code that must be found, and so also that nothing else is.
"""

from collections import Counter

import pytest

from chaoslab.check import CHECK_IDS, because, judge
from chaoslab.check.texts import TEXTS
from chaoslab.testing import Golden, goldens

VALID = goldens("valid")
INVALID = goldens("invalid")
ENTRIES_MAX = 40
EACH_MIN = 3


@pytest.mark.parametrize("one", VALID, ids=lambda one: one.name)
def test_valid(one: Golden) -> None:
    found = judge(one.evidence)
    assert found.violations == ()
    assert found.finding(one.check).verdict == "valid"
    assert not one.breaks


@pytest.mark.parametrize("one", INVALID, ids=lambda one: one.name)
def test_invalid(one: Golden) -> None:
    found = judge(one.evidence)
    view = one.evidence.history
    broken = {f.check: [v.code for v in f.violations] for f in found.findings if f.violations}
    assert broken == one.breaks
    assert one.check in broken
    for violation in found.violations:
        assert list(violation.witness) == sorted(set(violation.witness))
        assert all(0 <= index < len(view) for index in violation.witness)
        assert violation.witness
        story = because(view, violation, replay="chaoslab replay reports/x")
        assert len(story) <= 14
        assert story[-3].startswith("  so: ")
        assert story[-2].startswith("  what to change: ")


@pytest.mark.parametrize("kind", [VALID, INVALID], ids=["valid", "invalid"])
def test_every_check_has_three_of_both(kind: list[Golden]) -> None:
    each = Counter(one.check for one in kind)
    assert {check: n for check, n in each.items() if n < EACH_MIN} == {}
    assert set(each) == set(CHECK_IDS)


def test_every_code_is_shown_by_one() -> None:
    shown = {
        (check, code) for one in INVALID for check, codes in one.breaks.items() for code in codes
    }
    told = {(check, code) for check, text in TEXTS.items() for code in text.means}
    assert told - shown == set()


def test_each_is_a_small_story_of_its_own() -> None:
    names = [one.name for one in (*VALID, *INVALID)]
    assert len({one.title for one in (*VALID, *INVALID)}) == len(names) == len(set(names))
    assert all(one.name.startswith(one.check + "-") for one in INVALID)
    assert all(0 < len(one.evidence.history) <= ENTRIES_MAX for one in (*VALID, *INVALID))
    records = [tuple(map(repr, one.evidence.history)) for one in INVALID]
    assert len(set(records)) == len(records)
