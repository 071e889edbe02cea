"""Which strikes there are at a site, and which of them may turn out to be the same.

`faults.problem` says which kind makes sense where; this module makes every exact fault of it: each
phase, each mode of a trap, each scope, each place in a group of writes. Lengths are those that a
scenario has when it names none.

A group is a guess: its strikes may leave the world in the same state, so there it is worth looking
at the state. Whether they do is decided by the state's digest alone; a guess that is wrong costs
the look. The guesses come from what a call is: silence before a request is sent or carried out is
the same silence, and a call that changes nothing can fail as well before as after it was done.

>>> from chaoslab.faults import Site
>>> site = Site(session="s1", task="s1-t1", port="memory.read", marker="profile/1", attempt=1)
>>> [f.phase for f in strikes_at(site, kinds=("crash",))]
['before-send', 'before-commit', 'after-commit', 'after-reply']
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Final

from chaoslab.explore.ways import ACTING, UNTIL_HEALED, ends_ms
from chaoslab.faults import KINDS, PHASES, Fault, Site, exact, problem
from chaoslab.faults.model import TRAP_MODES
from chaoslab.history import Op, View
from chaoslab.run.model import RunSpec

# The simplest to explain first; whoever makes a failure smaller tries them in this order.
SIMPLEST_FIRST: Final[tuple[str, ...]] = (
    "silence",
    "reset",
    "error-reply",
    "rate-limit",
    "delay",
    "duplicate",
    "hold",
    "reorder",
    "truncated",
    "refusal",
    "malformed",
    "unknown-tool",
    "trap",
    "crash",
    "pause",
    "partition",
)
assert set(SIMPLEST_FIRST) == set(KINDS)

ALONE: Final = -1  # the group of a strike that is like no other
_SPOILED: Final = ("malformed", "unknown-tool")
# At a service these are the same before and after its work where that work changes nothing, ...
_INSTEAD: Final = ("silence", "reset", "error-reply", "crash")
# ... and these, which let the request go on, where it leaves no entry that they could stand before.
_BESIDE: Final = ("pause", "partition")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a history tells of the call at a site. `traced`: it left an entry beside its own, in a
    ledger for example; `asks`: its answer asks for something to be done; `items`: so many are
    written at once; `skips`: phases that do not come, since the service answers before them."""

    site: Site
    traced: bool = True
    asks: bool = True
    items: int = 0
    skips: frozenset[str] = frozenset()

    @property
    def changes(self) -> bool:
        """Whether a service may be another one after it. A model counts how often it was asked,
        and a guest keeps a memory of its own; the other services leave a trace."""
        port = self.site.port
        return self.traced or port == "model.complete" or port.startswith("wasm.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A strike to try. Strikes of one group may be equivalent; `ALONE` is in none."""

    fault: Fault
    group: int = ALONE


def calls_of(view: View, /) -> dict[Site, Call]:
    """The calls of a history by their sites, in the order in which they began."""
    traced = {op.call for op in view if op.type in ("commit", "event")}
    found: dict[Site, Call] = {}
    for op in view:
        if op.type == "invoke":
            site = Site(
                session=op.session,
                task=op.task,
                port=op.f,
                marker=op.marker,
                attempt=op.attempt,
            )
            end = view.completion(op.index)
            found[site] = Call(
                site=site,
                traced=op.index in traced,
                asks=end is None or bool(end.get("tool_calls", True)),
                items=len(op.get("writes", ())),
                skips=_skips(op.f, end, committed=bool(view.commits(op.index))),
            )
    return found


def _skips(port: str, end: Op | None, *, committed: bool) -> frozenset[str]:
    """A tool that knows the answer when the request arrives gives it there and then; any service
    that refuses a request has no commit that something could come after."""
    service = port.partition(".")[0]
    if end is None or service not in ("tools", "memory", "leases", "network"):
        return frozenset()
    refused = frozenset(("after-commit", "mid-write")) if end.type == "fail" else frozenset[str]()
    at_once = service == "tools" and end.type in ("ok", "fail") and not committed
    return refused | {"before-commit"} if at_once else refused


def unseen(site: Site, /) -> Call:
    """A call of which nothing is known but its site, as in an execution with a first strike."""
    asking = ("memory.read", "memory.scan", "model.complete")
    many = site.marker.count("+") + 1 if site.port == "memory.write_many" else 0
    traced = site.port not in asking and not site.port.endswith(".lookup")
    skips = frozenset(("before-commit",)) if site.port.endswith(".lookup") else frozenset[str]()
    return Call(site=site, traced=traced, items=many, skips=skips)


def strikes_at(
    site: Site,
    spec: RunSpec | None = None,
    /,
    *,
    kinds: Collection[str] = (),
    group_size: int = 0,
) -> list[Fault]:
    """Every strike that makes sense at a site, the simplest kind first.

    `kinds`: only these; none: all. `group_size`: how many items are written there at once. Without
    a spec there is one region. Where the lab heals so late that what is held until then would
    be carried out after services have forgotten its key, that ends by itself before.
    """
    regions = 1 if spec is None else len(spec.scenario.regions.names)
    soon_ms = None if spec is None else ends_ms(spec)
    return [
        _ended(fault, soon_ms)
        for kind in SIMPLEST_FIRST
        if (not kinds or kind in kinds) and (kind != "partition" or regions > 1)
        for phase in PHASES
        for fault in _variants(site, kind, phase, regions, group_size)
        if not problem(fault)
        and (kind != "trap" or site.marker)
        # Whatever overtakes a request that waits may never come, and then only the healing ends it.
        and (soon_ms is None or kind != "reorder" or not site.port.startswith(ACTING))
    ]


def _ended(fault: Fault, soon_ms: int | None) -> Fault:
    lasts = fault.kind in UNTIL_HEALED or fault.scope == "region"
    return replace(fault, for_ms=soon_ms) if lasts and soon_ms is not None else fault


def _variants(site: Site, kind: str, phase: str, regions: int, items: int) -> Iterator[Fault]:
    scopes = ("process", "region") if kind == "crash" and regions > 1 else ("process",)
    # A question to a guest, which names no action, does not reach the code that traps.
    modes = TRAP_MODES if kind == "trap" else ("panic",)
    # After the last item nothing is left to be cut off: that is after-commit.
    places = range(1, items) if phase == "mid-write" else (0,)
    for scope in scopes:
        for mode in modes:
            for after in places:
                yield exact(site, phase=phase, kind=kind, mode=mode, scope=scope, after_items=after)


def candidates(
    sites: Iterable[Site],
    calls: Mapping[Site, Call],
    spec: RunSpec,
    kinds: Collection[str] = (),
    /,
) -> list[Candidate]:
    """All strikes at these sites, in their order, those that may be the same in one group.

    `calls` is what is known of them; sites that it does not have are taken by their names.
    """
    labelled: list[tuple[Fault, Label]] = []
    for site in sites:
        call = calls.get(site) or unseen(site)
        size = call.items or unseen(site).items
        for fault in strikes_at(site, spec, kinds=kinds, group_size=size):
            if fault.phase not in call.skips:
                labelled.append((fault, _label(fault, call)))
    return _numbered(labelled)


Label = tuple[Any, ...]


def _label(fault: Fault, call: Call) -> Label:
    """What strikes that may be the same have in common; () for what is like no other."""
    kind, phase = fault.kind, fault.phase
    if kind == "silence" and (phase in ("before-send", "before-commit") or not call.changes):
        return () if phase == "mid-write" else (kind, call.site)
    if kind in _SPOILED and not call.asks:
        return ("spoiled", call.site)
    same = not call.changes if kind in _INSTEAD else kind in _BESIDE and not call.traced
    if same and phase in ("before-commit", "after-commit"):
        return (kind, fault.scope, call.site)
    return ()


def _numbered(labelled: Sequence[tuple[Fault, Label]]) -> list[Candidate]:
    """Groups by number, in order of first mention; a group of one is none."""
    size: dict[Label, int] = {}
    for _, label in labelled:
        size[label] = size.get(label, 0) + 1
    numbers: dict[Label, int] = {}
    return [
        Candidate(
            fault=fault,
            group=numbers.setdefault(label, len(numbers)) if label and size[label] > 1 else ALONE,
        )
        for fault, label in labelled
    ]


def why_same(one: Fault, other: Fault, /) -> str:
    """Why two strikes that left the same state did so, in words.

    >>> read = Site(session="s1", task="s1-t1", port="memory.read", marker="profile/1", attempt=1)
    >>> here, there = (exact(read, kind="reset", phase=f"{p}-commit") for p in ("after", "before"))
    >>> why_same(here, there)
    'reset before-commit = after-commit: the call changes nothing'
    """
    first, last = sorted((one, other), key=lambda fault: PHASES.index(fault.phase))
    if _site(first) == _site(last):
        if first.kind != last.kind:
            return f"{first.kind} = {last.kind} {last.phase}: there is nothing to spoil"
        before = last.phase == "before-commit"
        why = "nothing had happened yet" if before else "the call changes nothing"
        if first.kind in _BESIDE:  # it goes on all the same, so that says nothing here
            why = "nothing came between"
        return f"{first.kind} {first.phase} = {last.phase}: {why}"
    return f"{first.kind} {first.phase} = {last.kind} {last.phase} at the same instant"


def _site(fault: Fault) -> tuple[str, ...]:
    return (fault.at, fault.session, fault.task, fault.marker, str(fault.attempt))


def fault_json(fault: Fault, /) -> dict[str, Any]:
    """A fault as a scenario file says it: defaults are left out.

    >>> fault_json(Fault(at="model.complete", phase="after-commit", kind="refusal", task="s1-t1"))
    {'at': 'model.complete', 'phase': 'after-commit', 'kind': 'refusal', 'task': 's1-t1'}
    """
    return {
        one.name: getattr(fault, one.name)
        for one in fields(fault)
        if one.default is MISSING or getattr(fault, one.name) != one.default
    }


def fault_from(raw: Mapping[str, Any], /) -> Fault:
    """The fault that `fault_json` told."""
    return Fault(**raw)
