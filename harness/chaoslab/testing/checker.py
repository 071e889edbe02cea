"""Proves a check: that it is a pure function of the evidence, speaks so that people understand it,
and can both hold and be broken.

>>> from chaoslab.check import Check, conclude
>>> blind = Check(id="my.check", run=lambda evidence: conclude("my.check", [], looked_at=1))
>>> [step.name for step in prove_checker(blind).steps if not step.ok]
['says nothing of an empty record']
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from chaoslab.check import Checker, Evidence, Finding
from chaoslab.check.texts import TEXTS
from chaoslab.contract import Contract, Limits
from chaoslab.core.jsons import canonical, digest
from chaoslab.history import Op, View
from chaoslab.testing.histories import goldens
from chaoslab.testing.proof import Proof, Step

_CODE: Final = re.compile(r"[a-z][a-z0-9-]*")
_ID: Final = re.compile(r"[a-z][a-z0-9]*(\.[a-z0-9][a-z0-9-]*)+")
_LEAK: Final = re.compile(r"0x[0-9a-f]{6,}|object at |(^|\s)/[\w.-]+/[\w.-]+")
_CUTS: Final = 12
_VERDICTS: Final = ("valid", "invalid", "unknown", "not-applicable")


def prove_checker(
    checker: Checker,
    /,
    *,
    valid: Sequence[Evidence] = (),
    invalid: Sequence[Evidence] = (),
) -> Proof:
    """Tries a check on your examples, on the golden histories of the package, and on damaged and
    shortened copies of them.

    `valid` and `invalid` are what the check must hold on and must break on; a check of the
    package has its own among the golden histories.
    """
    goods, bads = list(valid), list(invalid)
    others: list[Evidence] = []
    for one in (*goldens("valid"), *goldens("invalid")):
        if one.check == checker.id:
            (bads if one.breaks else goods).append(one.evidence)
        else:
            others.append(one.evidence)
    everything = [*goods, *bads, *others]
    steps = [_named(checker), _silent(checker)]
    if goods or bads:
        steps += _examples(checker, goods, bads)
    steps += [
        _pure(checker, everything),
        _steady(checker, everything),
        _plain(checker, bads),
        _fingerprints(checker, bads),
    ]
    return Proof(of=f"check {checker.id}", steps=tuple(steps))


def _named(checker: Checker) -> Step:
    ok = bool(_ID.fullmatch(checker.id))
    seen = checker.id if ok else f"{checker.id!r}; allowed: group.name in small letters"
    return Step(name="has a name", seen=seen, ok=ok)


def _silent(checker: Checker) -> Step:
    nothing = Evidence(history=View([]), contract=Contract(), limits=Limits())
    verdict = _verdict(checker, nothing)
    ok = verdict in ("not-applicable", "unknown")
    return Step(name="says nothing of an empty record", seen=verdict, ok=ok)


def _examples(
    checker: Checker, goods: Sequence[Evidence], bads: Sequence[Evidence]
) -> Iterable[Step]:
    for name, wanted, examples in (
        ("holds on the valid examples", "valid", goods),
        ("breaks on the invalid examples", "invalid", bads),
    ):
        verdicts = [_verdict(checker, one) for one in examples]
        wrong = [f"example {n}: {v}" for n, v in enumerate(verdicts) if v != wanted]
        seen = "; ".join(wrong) or f"{len(examples)} × {wanted}"
        if not examples:
            seen = f"there is none; a check that was never seen to be {wanted} proves nothing"
        yield Step(name=name, seen=seen, ok=bool(examples) and not wrong)


def _verdict(checker: Checker, evidence: Evidence) -> str:
    try:
        return checker(evidence).verdict
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"


def _pure(checker: Checker, examples: Sequence[Evidence]) -> Step:
    name = "is a pure function of the evidence"
    for number, evidence in enumerate(examples):
        before = _digest(evidence)
        try:
            first, second = checker(evidence), checker(_fresh(evidence))
        except Exception as error:
            return Step(name=name, seen=f"raised {type(error).__name__}: {error}", ok=False)
        if first != second:
            return Step(name=name, seen=f"two answers to example {number}", ok=False)
        if _digest(evidence) != before:
            return Step(name=name, seen=f"it changed example {number}", ok=False)
    return Step(name=name, seen=f"asked twice of {len(examples)} histories", ok=True)


def _fresh(evidence: Evidence) -> Evidence:
    """The same evidence without what was joined before."""
    return Evidence(
        history=View(evidence.history.ops),
        contract=evidence.contract,
        limits=evidence.limits,
        control=evidence.control,
        repeats=evidence.repeats,
    )


def _digest(evidence: Evidence) -> str:
    views = (evidence.history, *evidence.repeats)
    if evidence.control is not None:
        views += (evidence.control,)
    return digest([op.to_json() for view in views for op in view])


def _steady(checker: Checker, examples: Sequence[Evidence]) -> Step:
    """A record may be cut short anywhere, and an entry may carry anything."""
    name = "never raises, whatever the record"
    tried = 0
    for number, evidence in enumerate(examples):
        ops = evidence.history.ops
        cuts = sorted({len(ops) * n // _CUTS for n in range(_CUTS)})
        damaged = [View(ops[:cut]) for cut in cuts]
        damaged += [View([*ops[:k], _garbled(ops[k]), *ops[k + 1 :]]) for k in range(len(ops))]
        for view in damaged:
            tried += 1
            try:
                verdict = checker(replace(evidence, history=view)).verdict
            except Exception as error:
                what = f"raised {type(error).__name__}: {error} on a damaged example {number}"
                return Step(name=name, seen=what, ok=False)
            if verdict not in _VERDICTS:
                return Step(name=name, seen=f"{verdict!r} is no verdict", ok=False)
    return Step(name=name, seen=f"{tried} damaged records", ok=True)


def _garbled(op: Op) -> Op:
    return replace(op, value={"claims": 7, "args": [None], "id": {}, "version": "x", "ref": 0})


def _plain(checker: Checker, bads: Sequence[Evidence]) -> Step:
    """Breaches as people and machines need them: a code, words, and entries that prove it."""
    name = "explains its breaches"
    problems: list[str] = []
    count = 0
    for evidence in bads:
        for v in _violations(checker, evidence):
            count += 1
            if not _CODE.fullmatch(v.code):
                problems.append(f"code {v.code!r}; allowed: small letters, digits and -")
            if not v.explanation or not v.subject:
                problems.append(f"{v.code} has no explanation or no subject")
            if _LEAK.search(v.explanation):
                problems.append(f"{v.code} tells an address or a path: {v.explanation}")
            inside = all(0 <= index < len(evidence.history) for index in v.witness)
            if not v.witness or list(v.witness) != sorted(set(v.witness)) or not inside:
                problems.append(f"the witness of {v.code} is {v.witness}")
            text = TEXTS.get(checker.id)
            if text is not None and v.code not in text.means:
                problems.append(f"{v.code} is not explained in the texts")
    return Step(name=name, seen="; ".join(problems) or f"{count} breaches", ok=not problems)


def _violations(checker: Checker, evidence: Evidence) -> Sequence[Any]:
    try:
        finding: Finding = checker(evidence)
    except Exception:
        return ()  # told by another step
    return finding.violations


def _fingerprints(checker: Checker, bads: Sequence[Evidence]) -> Step:
    """One bug keeps its fingerprint whoever the customers are."""
    name = "keeps its fingerprints under other names"
    for number, evidence in enumerate(bads):
        before = sorted({v.fingerprint for v in _violations(checker, evidence)})
        after = sorted({v.fingerprint for v in _violations(checker, _renamed(evidence))})
        if before != after:
            return Step(name=name, seen=f"example {number} has others then", ok=False)
    return Step(name=name, seen=f"{len(bads)} examples", ok=True)


def _renamed(evidence: Evidence) -> Evidence:
    """The same under other sessions, wherever their names stand."""
    names = {op.session for op in evidence.history if re.fullmatch(r"s\d+", op.session)}
    table = {name: f"s{int(name[1:]) + 40}" for name in names}

    def view(old: View) -> View:
        return View([_moved(op, table) for op in old])

    return replace(
        evidence,
        history=view(evidence.history),
        control=None if evidence.control is None else view(evidence.control),
        repeats=tuple(view(one) for one in evidence.repeats),
    )


def _moved(op: Op, table: dict[str, str]) -> Op:
    if not table:
        return op
    pattern = re.compile(r"\b(" + "|".join(sorted(table)) + r")\b")
    text = pattern.sub(lambda found: table[found.group(1)], canonical(op.to_json()))
    return Op.from_json(json.loads(text))
