"""The answer on top of the page: a word, its colour, and the sentences that say why.

A reader who sees nothing else must not go away with a wrong idea. So green is for a campaign that
was done to its end and showed something; what was cut, what is one part of a plan, and what only
passes because somebody accepted it has another word. And where the exit code alone leaves open what
happened, the sentence says which of its meanings it was.

>>> nothing = {"exit_code": 0, "runs": [], "complete": True}
>>> [answer_of(nothing, {})[part] for part in ("word", "look", "means")]
['Nothing proven', 'warn', 'nothing counts against it, but nothing was shown either']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chaoslab.core.visible import visible
from chaoslab.report.exploring import counts_of, exploration_in, headline_of, unfinished
from chaoslab.report.words import headline, short_agent

_WHY_MAX: Final = 320  # one reason in the answer; the whole of it stands below
_NAMED_MAX: Final = 4
_WORDS: Final = {
    1: ("Broken", "bad"),
    4: ("Could not tell", "bad"),
    5: ("Not repeatable", "bad"),
    130: ("Interrupted", "warn"),
}

Results = Mapping[str, Any]


def answer_of(results: Results, counts: Mapping[str, int], /) -> dict[str, Any]:
    """The word, its look, and the sentences below it. `counts`: the lines of the promise tables by
    their state."""
    code = results["exit_code"]
    word, look = _word(results, counts)
    explored = exploration_in(results) is not None
    said = [headline_of(results)] if explored else headline(results["runs"]).split("\n")
    said = [line for line in said if line]
    return {
        "word": word,
        "look": look,
        "says": [visible(line) for line in [*said, *_more(results, counts)]],
        "code": code,
        "means": _means(results, counts),
    }


def _word(results: Results, counts: Mapping[str, int]) -> tuple[str, str]:
    code = results["exit_code"]
    if code == 3:
        return ("Unproven" if results["complete"] and results["runs"] else "Incomplete"), "warn"
    if code == 4 and _missed(results) and not _broke(results):
        return "Planted bug missed", "bad"
    if code in _WORDS:
        return _WORDS[code]
    if not _observed(results, counts):
        return "Nothing proven", "warn"
    if _known(results):
        return "Known bugs only", "warn"
    if results.get("cut") or _part(results) or unfinished(results):
        return "Held so far", "warn"
    if not _subjects(results) and exploration_in(results) is None:
        return "Planted bugs found", "ok"
    return "Held", "ok"


def _means(results: Results, counts: Mapping[str, int]) -> str:
    code = results["exit_code"]
    if code == 0:
        if not _observed(results, counts):
            return "nothing counts against it, but nothing was shown either"
        if _known(results):
            return "every bug that was found is a known one, and its date is not over"
        return "nothing counts against it"
    if code == 3:
        if not results["complete"]:
            return "not everything that was asked for was run"
        if exploration_in(results) is not None and not _observed(results, counts):
            return "nothing was proven by any execution"
        if not results["runs"] and exploration_in(results) is None:
            return "nothing was run"
        return "a check that the contract requires is unproven"
    if code == 4:
        reasons = ["a planted bug was missed"] if _missed(results) else []
        if _broke(results):
            reasons.insert(0, "the lab or the agent's code broke")
        return ", and ".join(reasons) or "something could not be run"
    return {
        1: "a promise is broken",
        5: "the same choices gave another history",
        130: "interrupted; what had finished is here",
    }.get(code, "see docs/reference/results.md")


def _more(results: Results, counts: Mapping[str, int]) -> list[str]:
    """What a reader has to know besides the counts of the headline."""
    code = results["exit_code"]
    out = []
    first = _first_bug(results)
    if code == 1 and first:
        out.append(first)
    out += _accepted(results) + _explored(results)
    # A planted bug may well be one that does not repeat; that it was found is what counts.
    for verb, key, runs in (
        ("could not run", "broke", results["runs"]),
        ("not repeatable", "differs", _subjects(results)),
    ):
        found = [run[key] for run in runs if run[key]]
        if found:
            out.append(f"{_many(len(found), 'run')} {verb}: {_short(found[0])}")
    if code == 3:
        out += _required(results)
    elif code == 0 and counts.get("unproven"):
        out.append(f"{_many(counts['unproven'], 'promise')} unproven.")
    return out + _left_out(results)


def _explored(results: Results) -> list[str]:
    """What of a sweep or stress a reader would otherwise take for more than it is."""
    exploration = exploration_in(results)
    if exploration is None:
        return []
    counts = counts_of(exploration)
    out = []
    if counts.get("could not run"):
        out.append(f"{_many(counts['could not run'], 'execution')} could not be carried out.")
    if unfinished(results):
        out.append("Not everything that was planned was executed; the table below says what was.")
    if results["runs"]:
        out.append("What follows about promises and single runs is of the full runs alone.")
    return out


def _left_out(results: Results) -> list[str]:
    out, cut = [], len(results.get("cut") or ())
    if cut:
        asked = cut + len(results["runs"])
        was = "was" if cut == 1 else "were"
        out.append(f"{cut:,} of {asked:,} runs {was} left out for want of time.")
    if _part(results):
        shard, here = results["shard"], len(results["runs"])
        part = f"This is part {shard['index']} of {shard['of']}"
        whole = len(shard["runs"])
        out.append(f"{part}: {here:,} of the {whole:,} runs of the plan.")
    if results.get("stopped"):
        out.append(f"Stopped: {results['stopped']}")
    elif not results["complete"]:
        gaps = results.get("gaps") or ["not all runs that were asked for have ended; use --resume"]
        # Which runs these are stands further down, with everything else that is not shown.
        out += [_sentence(gap.partition(":")[0]) for gap in gaps[:_NAMED_MAX]]
    return out


def _first_bug(results: Results) -> str:
    counted = [
        bug
        for bug in results.get("bugs") or ()
        if bug["state"] in ("new", "expired") and not bug.get("warning")
    ]
    if not counted:
        return ""
    title = _short(str(counted[0]["title"]))
    return f"{'First to mend' if len(counted) > 1 else 'To mend'}: {title}."


def _accepted(results: Results) -> list[str]:
    """How many of the bugs somebody has accepted, and for how many of these the time is over."""
    bugs = [bug["state"] for bug in results.get("bugs") or () if not bug.get("warning")]
    known, over = bugs.count("known"), bugs.count("expired")
    out = []
    if over:
        was, its = ("was", "its") if over == 1 else ("were", "their")
        out.append(f"{_many(over, 'bug')} {was} accepted once, and {its} time is over.")
    if known:
        does = "does" if known == 1 else "do"
        out.append(f"{_many(known, 'known bug')} {does} not count.")
    return out


def _required(results: Results) -> list[str]:
    """The required lines that nothing was shown for."""
    lines = [line for table in results.get("promises") or () for line in table["lines"]]
    names = [x["says"] for x in lines if x["required"] and x["state"] == "unproven"]
    names = list(dict.fromkeys(names))
    if not names:
        return []
    more = f", and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return [f"Required, and unproven: {'; '.join(names[:_NAMED_MAX])}{more}."]


def _observed(results: Results, counts: Mapping[str, int]) -> bool:
    """Whether anything was shown at all. Where contracts are told line by line, lines count: a run
    that held in a scenario without anything to break shows no promise."""
    exploration = exploration_in(results)
    if exploration is not None:
        ended = counts_of(exploration)
        return bool(ended["held"] or ended["broken"])
    if _subjects(results) and sum(counts.values()):
        return bool(counts.get("proven") or counts.get("broken"))
    return any(run["verdict"] in ("valid", "invalid") for run in results["runs"])


def _subjects(results: Results) -> list[Mapping[str, Any]]:
    return [run for run in results["runs"] if run["role"] == "subject"]


def _broke(results: Results) -> bool:
    return any(run["broke"] for run in results["runs"])


def _missed(results: Results) -> Sequence[str]:
    return sorted({short_agent(r["agent"]) for r in results["runs"] if r["caught"] is False})


def _known(results: Results) -> bool:
    return any(one["state"] == "known" for one in results.get("known") or ())


def _part(results: Results) -> bool:
    return bool(results.get("shard")) and not results.get("merged")


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _short(text: str) -> str:
    return text if len(text) <= _WHY_MAX else f"{text[:_WHY_MAX].rstrip()} …"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '…')) else '.'}"
