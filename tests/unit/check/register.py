"""A store that is not ours, as a history shows it: what was asked and answered, and no commits.

`Record` writes such a history by hand, `histories` draws one, and `explained` says whether some
order explains it, by trying all orders. None of it knows anything of the check.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from chaoslab.check import Evidence, Finding, Violation
from chaoslab.check.linearizable import CHECK
from chaoslab.contract import Contract, Limits
from chaoslab.history import Op, View

MS = 1_000_000


class Record:
    """A history of a store that is not ours: what was asked and answered, no commits."""

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def add(self, type: Any, f: str, value: Any = None, **fields: Any) -> int:
        index = len(self.ops)
        self.ops.append(Op(index=index, time_ns=index * MS, type=type, f=f, value=value, **fields))
        return index

    def ask(self, verb: str, process: str = "p1", id: str = "cart", **value: Any) -> int:
        value = {"id": id, **value}
        return self.add("invoke", f"memory.{verb}", value, process=process, marker=id)

    def end(self, call: int, type: Any = "ok", **value: Any) -> int:
        op = self.ops[call]
        fields = {"call": call, "process": op.process, "marker": op.marker}
        return self.add(type, op.f, value, **fields)

    def write(self, value: Any, process: str = "p1", version: Any = None, **more: Any) -> int:
        return self.end(self.ask("write", process, value=value, **more), version=version)

    def saw(self, call: int, value: Any, version: Any = None) -> int:
        return self.end(call, found=value is not None, value=value, version=version)

    def read(self, value: Any, process: str = "p2", version: Any = None) -> int:
        return self.saw(self.ask("read", process, at="primary"), value, version)

    def erase(self, process: str = "p1") -> int:
        return self.end(self.ask("erase", process))

    def judged(self) -> Finding:
        view = View(self.ops)
        return CHECK(Evidence(history=view, contract=Contract(), limits=Limits()))

    def broken(self) -> Violation:
        (violation,) = self.judged().violations
        assert violation.code == "not-linearizable"
        assert violation.subject == "cart"
        return violation


def explained(ops: Sequence[Op]) -> bool:
    """Whether some order explains a history of one item: all orders, and for each write without an
    answer both worlds, are tried. It reads the entries by itself and knows nothing of the check."""
    rows: list[dict[str, Any]] = []
    answers = {op.call: op for op in ops if op.call >= 0}
    for op in ops:
        answer = answers.get(op.index)
        ok = answer if answer is not None and answer.type == "ok" else None
        if op.type != "invoke" or (answer is not None and answer.type == "fail"):
            continue
        row: dict[str, Any] = {"from": op.index, "to": ok.index if ok else 10**9}
        row["told"] = ok.get("version") if ok else None
        if op.f != "memory.read":
            row["writes"] = (op.get("value"),) if op.f == "memory.write" else ()
            row["expect"] = op.get("expect", "any")
        elif ok:
            row["reads"] = (ok.get("value"),) if ok.get("found") else ()
        else:
            continue
        rows.append(row)
    return any(_numbers_fit(order) for order in _orders(rows, [], ()))


def _orders(left: list[dict[str, Any]], done: list[Any], stands: tuple[Any, ...]) -> Iterator[Any]:
    """Every order in which each read finds what the last write left."""
    if all(row["to"] == 10**9 for row in left):
        yield done
    for row in left:
        rest = [other for other in left if other is not row]
        if any(other["to"] < row["from"] for other in rest):
            continue  # something that was over before must come first
        if "reads" in row:
            if row["reads"] == stands:
                yield from _orders(rest, [*done, row], stands)
            continue
        expect = row["expect"]
        if expect == "any" or (stands == () if expect is None else stands != ()):
            yield from _orders(rest, [*done, row], row["writes"])


def _numbers_fit(order: list[dict[str, Any]]) -> bool:
    """Whether each write can have one version, all of them growing."""
    versions: list[set[tuple[int, ...]]] = []
    for row in order:
        told = {tuple(row["told"])} if row["told"] else set()
        if "reads" in row:
            if versions and row["reads"]:
                versions[-1] |= told
            continue
        if row["expect"] not in ("any", None):
            versions[-1].add(tuple(row["expect"]))
        versions.append(told if row["writes"] else set())
    known = [next(iter(v)) for v in versions if v]
    return all(len(v) < 2 for v in versions) and all(a < b for a, b in pairwise(known))


@st.composite
def histories(draw: st.DrawFn) -> list[Op]:
    """At most eight calls of three clients on a store that works, and then perhaps a lie or two."""
    told = draw(st.sampled_from(["always", "never", "reads", "some"]))
    plain = draw(st.booleans())  # only reads and writes of values that are all different
    r, version, fresh = Record(), 0, 0
    stands: Any = None
    stands_at: list[int] | None = None
    under_way: dict[str, list[Any]] = {}  # client -> [call, verb, expect, its result]
    free = ["p1", "p2", "p3"]
    left = draw(st.integers(2, 8))
    while left or under_way:
        client = draw(st.sampled_from(["p1", "p2", "p3"]))
        if client not in under_way:
            if not left or client not in free:
                client = next(iter(under_way), "")
                if not client:
                    break
            else:
                left -= 1
                verbs = ["read", "read", "write"] + ([] if plain else ["erase", "create", "swap"])
                verb = draw(st.sampled_from(verbs))
                expect: Any = "any"
                value: dict[str, Any] = {}
                if verb in ("write", "create", "swap"):
                    fresh += 1
                    value["value"] = f"v{fresh}" if plain else draw(st.sampled_from("ABC"))
                if verb == "create":
                    value["expect"] = expect = None
                if verb == "swap":
                    value["expect"] = expect = [1, draw(st.integers(1, version + 1))]
                name = "write" if verb in ("create", "swap") else verb
                under_way[client] = [r.ask(name, client, **value), name, expect, None]
                continue
        call, verb, expect, result = under_way[client]
        if result is None:
            if draw(st.integers(0, 9)) == 0:
                result = "lost"
            elif verb == "read":
                result = [stands, stands_at]
            elif expect not in ("any", stands_at):
                result = "refused"
            else:
                version += 1
                stands = r.ops[call].get("value") if verb == "write" else None
                stands_at = [1, version] if verb == "write" else None
                result = [stands, stands_at]
            under_way[client][3] = result
            if draw(st.booleans()):
                continue
        del under_way[client]
        _answer(draw, r, call, verb, result, told, version)
    return r.ops


def _answer(
    draw: st.DrawFn, r: Record, call: int, verb: str, result: Any, told: str, version: int
) -> None:
    if result == "lost" or draw(st.integers(0, 7)) == 0:
        if draw(st.booleans()):
            r.end(call, "info", error="deadline")
        return
    if result == "refused":
        r.end(call, "fail", error="conflict")
        return
    value, at = result
    if draw(st.integers(0, 3)) == 0:  # the lie
        values = sorted({op.get("value") for op in r.ops if op.get("value")})
        value = draw(st.sampled_from([*values, None, "X"]))
        if at:
            at = [1, draw(st.integers(max(1, at[1] - 2), at[1] + 1))]
        else:
            at = [1, draw(st.integers(1, version + 1))]
    tells = told == "always" or (told == "reads" and verb == "read")
    tells = tells or (told == "some" and draw(st.booleans()))
    if verb == "read":
        r.saw(call, value, at if tells and value is not None else None)
    else:
        r.end(call, **({"version": at} if tells and verb == "write" else {}))
