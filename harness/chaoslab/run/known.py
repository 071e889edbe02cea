"""Known bugs: breaches that a person took upon himself, for a while and with a reason.

A team that turns a gate on has bugs already. If the gate cannot live with them, it is turned off
again; if it just forgets them, nobody mends them. So a bug is accepted by somebody, with a reason,
until a day at most 90 days away, in a file that is reviewed like code. A known bug does not break
the build, and is counted in every output. After its day it breaks the build again.

A bug is recognised by fingerprint and by the contract's name. What is not seen any more is only
called gone where those runs were done that showed it: not run is not resolved.

>>> entry = {"fingerprint": "00112233aabbccdd", "contract": "support", "check": "effects.delivery"}
>>> entry |= {"code": "duplicate-effect", "tool": "refund", "owner": "ann", "reason": "PAY-7"}
>>> entry |= {"accepted": "2026-01-10", "expires": "2026-02-10", "seen_in": ["matrix/x seed 0"]}
>>> raw = {"format": 1, "known": [entry]}
>>> known = known_from(raw, "x.toml", today=Day(2026, 2, 10))
>>> known.state("00112233aabbccdd", "support"), known.state("00112233aabbccdd", "billing")
('known', '')
>>> known.summary([])[0]["state"]
'not-run'
>>> late = known_from(raw, "x.toml", today=Day(2026, 2, 11))
>>> late.state("00112233aabbccdd", "support")
'expired'
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from chaoslab.core.clock import Day
from chaoslab.core.errors import ContractError, UsageError, shown
from chaoslab.core.tables import Problems, Table, load_toml

FORMAT: Final = 1
KNOWN_FILE: Final = "chaoslab-known.toml"
DAYS_MAX: Final = 90

_BY_TOOL: Final = ("effects.delivery", "keys.lineage")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{16}")
_PLACE: Final = re.compile(r"(.+) seed ([0-9]+)( \(process\))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBug:
    """One bug that was accepted. `seen_in`: the runs that showed it, as `place_of` names them."""

    fingerprint: str
    contract: str
    check: str
    code: str
    tool: str
    anomaly: str = ""
    owner: str
    reason: str
    accepted: Day
    expires: Day
    seen_in: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A file of known bugs, as it is to be read on one day."""

    path: str = ""
    entries: tuple[KnownBug, ...] = ()
    today: Day = Day.min

    def state(self, fingerprint: str, contract: str, /) -> Literal["", "known", "expired"]:
        """Whether a bug that was seen is covered. The last day itself still is."""
        for entry in self.entries:
            if (entry.fingerprint, entry.contract) == (fingerprint, contract):
                return "expired" if self.today > entry.expires else "known"
        return ""

    def summary(self, runs: Sequence[Mapping[str, Any]], /) -> list[dict[str, Any]]:
        """One line for each entry: was the bug seen in these runs of `results.json`, and in which?

        What is read of a run is its contract, its place and what it showed; runs of planted bugs
        are left out, since they say nothing of the team's agent.
        """
        seen: dict[tuple[str, str], dict[str, None]] = {}
        there: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for run in runs:
            if run["role"] != "subject":
                continue
            there.setdefault((run["contract"], place_of(run)), []).append(run)
            # A check newer than the ruleset only warns; what it sees is not gone either.
            for violation in (*run["violations"], *run.get("warnings", ())):
                marks = (violation["fingerprint"], run["contract"])
                seen.setdefault(marks, {})[run["id"]] = None
        return [
            {
                "fingerprint": entry.fingerprint,
                "contract": entry.contract,
                "check": entry.check,
                "code": entry.code,
                "tool": entry.tool,
                "owner": entry.owner,
                "reason": entry.reason,
                "accepted": entry.accepted.isoformat(),
                "expires": entry.expires.isoformat(),
                "state": self._state_in(entry, showed, there),
                "runs": showed,
            }
            for entry in self.entries
            for showed in [list(seen.get((entry.fingerprint, entry.contract), ()))]
        ]

    def _state_in(
        self,
        entry: KnownBug,
        showed: Sequence[str],
        there: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    ) -> str:
        if showed:
            return self.state(entry.fingerprint, entry.contract)
        for place in entry.seen_in:
            runs = there.get((entry.contract, place), ())
            if not runs or not all(_looked(run, entry) for run in runs):
                return "not-run"
        return "gone"


NOTHING_KNOWN: Final = Known()


def place_of(run: Mapping[str, Any], /) -> str:
    """How a run is named in `seen_in`, so that it is found again in a later campaign.

    >>> place_of({"scenario": "matrix/x", "seed": 3, "backend": "process"})
    'matrix/x seed 3 (process)'
    """
    where = "" if run["backend"] == "sim" else f" ({run['backend']})"
    return f"{run['scenario']} seed {run['seed']}{where}"


def _looked(run: Mapping[str, Any], entry: KnownBug) -> bool:
    """Whether a run was done so that the check could have seen the bug, had it been there."""
    if run["broke"] or run["differs"] or run["vacuous"] or run["not_applicable"]:
        return False
    return bool(run["faults_ran"]) and looked_at(run, entry.check, entry.tool)


def looked_at(run: Mapping[str, Any], check: str, tool: str, /) -> bool:
    """Whether a check of a run had something to look at: where it judges one tool after the other,
    that tool. Results of an older version do not say which tools were used."""
    if run["checks"].get(check, {}).get("verdict") not in ("valid", "invalid"):
        return False
    if not tool or check not in _BY_TOOL or "tools" not in run:
        return True
    return bool(run["tools"].get(tool, {}).get("actions"))


# -- reading


def load_known(path: Path | None, /, *, today: Day) -> Known:
    """The known bugs in a file; without a path those of the current folder, if it has such a file.

    ContractError names every problem of the file at once.
    """
    if path is None:
        path = Path(KNOWN_FILE)
        if not path.exists():
            return Known(path=str(path), today=today)
    return known_from(load_toml(path, ContractError), str(path), today=today)


def known_from(raw: Mapping[str, Any], file: str, /, *, today: Day) -> Known:
    """Known bugs from their table; `file` is named in messages."""
    problems = Problems(file)
    table = Table(raw, problems)
    table.format_is(FORMAT)
    entries: list[KnownBug] = []
    places: dict[tuple[str, str], str] = {}
    for one in table.tables("known"):
        entry = _bug_from(one, today)
        mark = (entry.fingerprint, entry.contract)
        first = places.setdefault(mark, one.path)
        if first != one.path and entry.fingerprint:
            one.complain(
                "fingerprint", f"stands in {first} already; allowed: once for each contract"
            )
        entries.append(entry)
    table.close()
    problems.raise_if_any(ContractError)
    return Known(path=file, entries=tuple(entries), today=today)


def _bug_from(table: Table, today: Day) -> KnownBug:
    fingerprint = table.text("fingerprint", must=True)
    if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
        table.complain(
            "fingerprint",
            f"got {shown(fingerprint)}; allowed: the 16 characters 0-9 and a-f of results.json",
        )
    accepted_on, expires = _day(table, "accepted"), _day(table, "expires")
    if accepted_on is not None and accepted_on > today:
        table.complain("accepted", f"got {accepted_on}; allowed: today ({today}, UTC) or earlier")
    if accepted_on is not None and expires is not None and expires > later(accepted_on, DAYS_MAX):
        table.complain(
            "expires",
            f"got {expires}; allowed: at most {DAYS_MAX} days after accepted, "
            f"{later(accepted_on, DAYS_MAX)}",
        )
    bug = KnownBug(
        fingerprint=fingerprint,
        contract=table.text("contract", must=True),
        check=table.text("check", must=True),
        code=table.text("code", must=True),
        tool=table.text("tool", must=True),
        anomaly=table.text("anomaly"),
        owner=_words(table, "owner"),
        reason=_words(table, "reason"),
        accepted=accepted_on or today,
        expires=expires or today,
        seen_in=_places(table),
    )
    table.close()
    return bug


def _words(table: Table, key: str) -> str:
    """A text that says something."""
    text = table.text(key, must=True)
    if isinstance(table.raw.get(key), str) and not text.strip():
        table.complain(key, f"got {shown(text)}; allowed: a text that is not blank")
    return text


def _places(table: Table) -> tuple[str, ...]:
    """`seen_in`. A misspelt run would never be done, and the bug never gone; so it is refused."""
    places = table.strings("seen_in")
    allowed = 'runs, such as ["matrix/timeout-after-commit seed 0"]'
    if table.raw.get("seen_in") is None:
        table.complain("seen_in", f"is missing; allowed: {allowed}")
    elif table.raw["seen_in"] == []:
        table.complain("seen_in", f"got []; allowed: {allowed}")
    for place in places:
        if not _PLACE.fullmatch(place):
            table.complain("seen_in", f"got {shown(place)}; allowed: {allowed}")
    return places


def _day(table: Table, key: str) -> Day | None:
    """A day, as TOML writes one or as text; a time of day would promise more than is kept."""
    value = table.get(key)
    if type(value) is Day:
        return value
    found = day_from(value) if isinstance(value, str) else None
    if found is None:
        said = "is missing" if value is None else f"got {shown(value)}"
        table.complain(key, f"{said}; allowed: a day, such as 2026-01-31")
    return found


def day_from(text: str, /) -> Day | None:
    """A day of the form 2026-01-31, or None."""
    try:
        return Day.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:  # the 31st of February
        return None


def later(day: Day, days: int, /) -> Day:
    """So many days later, as far as there are days."""
    return Day.fromordinal(min(day.toordinal() + days, Day.max.toordinal()))


# -- writing

_TOP: Final = f"""\
# Bugs that are known and accepted for a while: they do not break the build, and are counted.
# After the day `expires` (at most {DAYS_MAX} days after `accepted`) a bug breaks the build again.
# Written by `chaoslab accept`. You may edit it; comments of your own are lost at the next accept.
format = {FORMAT}
"""
_SHORT: Final = {
    **{'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"},
    **{"\t": "\\t", "\b": "\\b", "\f": "\\f"},
}


def known_text(known: Known, /) -> str:
    """The file's text: one shape, one order, so that a change of one bug is a change of its lines.

    >>> known_text(NOTHING_KNOWN).splitlines()[-1]
    'format = 1'
    """
    return _TOP + "".join(map(_entry_text, sorted(known.entries, key=_order)))


def _order(bug: KnownBug) -> tuple[str, ...]:
    return (bug.contract, bug.check, bug.code, bug.tool, bug.fingerprint)


def _place_order(place: str) -> tuple[str, int, str]:
    """Seed 2 before seed 10."""
    found = _PLACE.fullmatch(place)
    return (found[1], int(found[2]), place) if found else (place, 0, place)


def _entry_text(bug: KnownBug) -> str:
    lines = ["", "[[known]]"]
    for name in ("fingerprint", "contract", "check", "code", "tool", "anomaly", "owner", "reason"):
        text: str = getattr(bug, name)
        if text or name != "anomaly":
            lines.append(f"{name} = {_quoted(text)}")
    lines += [f"accepted = {bug.accepted}", f"expires = {bug.expires}", "seen_in = ["]
    lines += [f"  {_quoted(place)}," for place in sorted(bug.seen_in, key=_place_order)]
    return "\n".join([*lines, "]", ""])


def _quoted(text: str) -> str:
    """A basic string of TOML. What does not show, or shows otherwise than it reads, is escaped."""
    return '"' + "".join(_SHORT.get(c) or (c if c.isprintable() else _code(c)) for c in text) + '"'


def _code(char: str) -> str:
    number = ord(char)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def write_known(known: Known, path: Path, /) -> None:
    """Writes the file whole or not at all. UsageError where it cannot be written."""
    target = Path(os.path.realpath(path))  # a link stays a link
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            with aside.open("w", encoding="utf-8", newline="\n") as file:
                file.write(known_text(known))
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}; nothing was changed",
            hint="name another file with --known",
        ) from None
