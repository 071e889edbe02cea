"""Accepting bugs: which of those that a run or a campaign shows, by whom, why and until when.

Only what would break the build can be accepted. A planted bug is meant to be found, and an expected
breach counts for nothing, so an entry for them would only hide a later bug of the same fingerprint.

>>> run = {"id": "r", "scenario": "matrix/x", "seed": 0, "backend": "sim", "contract": "support"}
>>> shown = {"fingerprint": "00112233aabbccdd", "check": "effects.delivery"}
>>> shown |= {"code": "duplicate-effect", "tool": "refund", "anomaly": ""}
>>> run |= {"role": "subject", "caught": None, "violations": [shown]}
>>> known = Known(today=Day(2026, 1, 1))
>>> last = expiry("30d", known.today)
>>> (bug,) = accepted(known, run, owner="ann", reason="PAY-7", expires=last).entries
>>> bug.tool, str(bug.expires), bug.seen_in
('refund', '2026-01-31', ('matrix/x seed 0',))
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final

from chaoslab.core.clock import Day
from chaoslab.core.errors import FormatError, UsageError
from chaoslab.core.visible import visible
from chaoslab.run.known import (
    DAYS_MAX,
    Known,
    KnownBug,
    day_from,
    later,
    place_of,
)

PREFIX_MIN: Final = 6
_READ: Final = ("id", "scenario", "seed", "backend", "contract", "role", "caught", "violations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A bug as results show it, ready to be accepted."""

    fingerprint: str
    contract: str
    check: str
    code: str
    tool: str
    anomaly: str
    seen_in: tuple[str, ...]

    @property
    def words(self) -> str:
        """The bug on one line, fit for a terminal."""
        about = f"{self.code}, {self.tool}" if self.tool else self.code
        return visible(f"{self.check} ({about})")


def expiry(text: str, today: Day, /) -> Day:
    """The last day from what a person wrote: a day, or a number of days from today on.

    >>> expiry("30d", Day(2026, 1, 1)), expiry("2026-02-01", Day(2026, 1, 1))
    (datetime.date(2026, 1, 31), datetime.date(2026, 2, 1))
    """
    days = re.fullmatch(r"([0-9]{1,6})d", text.strip())
    found = later(today, int(days[1])) if days else day_from(text.strip())
    if found is None or not today < found <= later(today, DAYS_MAX):
        raise UsageError(
            "expires is no day on which this can end",
            value=text,
            allowed=f"a day from {later(today, 1)} to {later(today, DAYS_MAX)} (UTC), "
            f"or 1d to {DAYS_MAX}d",
            hint="choose the day by which it will be mended; it can be accepted again",
        )
    return found


def acceptable(
    known: Known, told: Mapping[str, Any], /, *, fingerprints: Iterable[str] = ()
) -> list[Breach]:
    """The bugs of a run, or the open ones of a campaign, or those that are named; never none."""
    runs = _runs(told)
    found = _breaches([run for run in runs if not _excuse(run)])
    wanted = tuple(fingerprints)
    if wanted:
        return _named(wanted, found, _breaches([run for run in runs if _excuse(run)]))
    if "runs" not in told and _excuse(runs[0]):
        raise UsageError(f"{runs[0]['id']} cannot be accepted: {_excuse(runs[0])}")
    if not found:
        broke = "" if "runs" in told else runs[0].get("broke")
        raise UsageError(
            f"nothing to accept: the run gave no verdict ({visible(broke)})"
            if broke
            else "nothing to accept: no promise is broken here",
            allowed="a run of your own agent's that is broken",
            hint="ls reports/latest",
        )
    if "runs" not in told:
        return found
    still = [b for b in found if known.state(b.fingerprint, b.contract) != "known"]
    if not still:
        raise UsageError(
            f"nothing to accept: every bug of this campaign is known already ({len(found)})",
            hint="to change an entry, name it with --fingerprint, or edit the file",
        )
    return still


def accepted(
    known: Known,
    told: Mapping[str, Any],
    /,
    *,
    owner: str,
    reason: str,
    expires: Day,
    fingerprints: Iterable[str] = (),
) -> Known:
    """The known bugs together with those of a run or of a campaign. A bug that was known already
    gets the new owner, reason and days, and keeps the runs in which it was seen."""
    expiry(expires.isoformat(), known.today)
    for name, text in (("owner", owner), ("reason", reason)):
        if not text.strip() or _plain(text) != text:
            raise UsageError(
                f"{name} does not say anything that can be read",
                value=text,
                allowed="a text in UTF-8 that is not blank",
                hint=f"say who answers for the bug, and why it may stay: --{name} …",
            )
    entries = {(e.fingerprint, e.contract): e for e in known.entries}
    for one in acceptable(known, told, fingerprints=fingerprints):
        before = entries.get((one.fingerprint, one.contract))
        places = dict.fromkeys((*(before.seen_in if before else ()), *one.seen_in))
        entries[one.fingerprint, one.contract] = KnownBug(
            fingerprint=one.fingerprint,
            contract=one.contract,
            check=one.check,
            code=one.code,
            tool=one.tool,
            anomaly=one.anomaly,
            owner=owner,
            reason=reason,
            accepted=known.today,
            expires=expires,
            seen_in=tuple(places),
        )
    return replace(known, entries=tuple(entries.values()))


def _runs(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of a campaign, or the one of a run. FormatError where one lacks what is read."""
    runs: list[Mapping[str, Any]] = list(told["runs"]) if "runs" in told else [told]
    for run in runs:
        missing = [key for key in _READ if key not in run]
        if missing:
            raise FormatError(
                f"an entry of the results lacks {', '.join(missing)}", hint="run it again"
            )
    return runs


def _excuse(run: Mapping[str, Any]) -> str:
    """Why what a run shows is nobody's to accept, or empty."""
    if run["role"] != "subject":
        return "it is a planted bug, which the lab has to find"
    if run["caught"] is True:
        return "its breach is expected by the scenario, and counts for nothing"
    return ""


def _breaches(runs: Sequence[Mapping[str, Any]]) -> list[Breach]:
    """Each bug of some runs once, with all runs that showed it."""
    found: dict[tuple[str, str], Breach] = {}
    for run in runs:
        for violation in run["violations"]:
            mark = (violation["fingerprint"], run["contract"])
            before = found[mark].seen_in if mark in found else ()
            found[mark] = Breach(
                fingerprint=violation["fingerprint"],
                contract=_plain(run["contract"]),
                check=_plain(violation["check"]),
                code=_plain(violation["code"]),
                tool=_plain(violation["tool"]),
                anomaly=_plain(violation["anomaly"]),
                seen_in=tuple(dict.fromkeys((*before, place_of(run)))),
            )
    return sorted(
        found.values(), key=attrgetter("contract", "check", "code", "tool", "fingerprint")
    )


def _named(
    wanted: Sequence[str], found: Sequence[Breach], excused: Sequence[Breach]
) -> list[Breach]:
    """The bugs whose fingerprints begin so. Each beginning must mean one."""
    there = "; ".join(f"{b.fingerprint} {b.words}" for b in found) or "there is none to accept"
    marks: set[str] = set()
    for text in wanted:
        start = text.strip().lower()
        if len(start) < PREFIX_MIN:
            raise UsageError(
                "the beginning of a fingerprint is too short",
                value=text,
                allowed=f"{PREFIX_MIN} characters or more of: {there}",
            )
        fits = {b.fingerprint for b in found if b.fingerprint.startswith(start)}
        if len(fits) > 1:
            raise UsageError(
                "several fingerprints begin so", value=text, allowed=f"one of: {there}"
            )
        if not fits and any(b.fingerprint.startswith(start) for b in excused):
            raise UsageError(
                "a planted bug or an expected breach cannot be accepted", value=text, allowed=there
            )
        if not fits:
            raise UsageError("no bug has this fingerprint", value=text, allowed=there)
        marks |= fits
    return [b for b in found if b.fingerprint in marks]


def _plain(text: str) -> str:
    """The text with halves of characters, which no file in UTF-8 can hold, spelt out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
