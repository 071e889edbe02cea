"""Faults: what is struck, at which site, in which phase, and how.

A fault without a phase is refused, since "the call failed" says nothing: an agent may try again
after a loss before the commit and must not, without a key, after one. `ALLOWED` is the whole
truth about which kind makes sense where.

>>> problem(Fault(at="tools:keyed", phase="mid-write", kind="silence"))
'phase mid-write exists only on memory.write_many, not on tools:keyed'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Phase = Literal["before-send", "before-commit", "after-commit", "after-reply", "mid-write"]
PHASES: Final = ("before-send", "before-commit", "after-commit", "after-reply", "mid-write")

_ALL = frozenset(("before-send", "before-commit", "after-commit", "after-reply"))
_WIRE = frozenset(("before-send", "before-commit", "after-commit"))
_SERVICE = frozenset(("before-commit", "after-commit"))

# kind -> (phases, what it does in plain words)
KINDS: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "silence": (_WIRE, "nothing comes back"),
    "reset": (_WIRE, "the connection breaks"),
    "error-reply": (_SERVICE, "the service answers 5xx"),
    "delay": (_WIRE, "it takes longer"),
    "duplicate": (_SERVICE, "the request arrives twice"),
    "reorder": (frozenset(("before-commit",)), "a later request overtakes it"),
    "hold": (_SERVICE, "it is held back and released later"),
    "crash": (_ALL, "the process or region dies"),
    "pause": (_ALL, "the process stands still and comes back later"),
    "partition": (_ALL, "the region is cut off"),
    "trap": (_SERVICE, "a call into the Wasm guest goes wrong inside"),
    "malformed": (frozenset(("after-commit",)), "the model's arguments are malformed"),
    "unknown-tool": (frozenset(("after-commit",)), "the model asks for a tool that is not there"),
    "truncated": (frozenset(("after-commit",)), "the model's answer is cut off"),
    "refusal": (frozenset(("after-commit",)), "the model refuses"),
    "rate-limit": (frozenset(("before-commit",)), "the service says: not now"),
}
MODEL_KINDS: Final = frozenset(("malformed", "unknown-tool", "truncated", "refusal"))
MID_WRITE_KINDS: Final = frozenset(("silence", "reset", "error-reply", "crash", "pause"))
# The first four happen in the guest, the last two in the host that it calls.
TRAP_MODES: Final = ("panic", "abort", "loop", "out-of-bounds", "nested", "import-error")
ROLES: Final = ("tools:keyed", "tools:unkeyed", "tools:long-running", "tools:*", "wasm:*")
PORTS: Final = (
    "model.complete",
    "memory.read",
    "memory.write",
    "memory.write_many",
    "memory.scan",
    "memory.erase",
    "leases.acquire",
    "network.request",
    "wasm.instantiate",
)
SCOPES: Final = ("process", "region")
NONE: Final = "-"  # in a fault's session, task or marker: a call that belongs to none


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An exact place: the nth attempt of one operation by one task at one port."""

    session: str
    task: str
    port: str
    marker: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.task or '-'} {self.port} {self.marker} try {self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One planned fault. Empty fields of the site match anything, `NONE` what has no such field;
    `at` may be a role.

    `for_ms` is the length of a delay, hold, pause or partition (None: until the lab heals).
    `every` strikes each matching site of the fault-free run, else the first in order of name.
    `times`: it lasts for so many tries of the action, one after the other: one outage, one fault.
    """

    at: str
    phase: str
    kind: str
    session: str = ""
    task: str = ""
    marker: str = ""
    attempt: int = 1
    after_items: int = 0
    for_ms: int | None = None
    scope: str = "process"
    mode: str = "panic"
    every: bool = False
    times: int = 1

    def where(self) -> str:
        """The site in words, for tables and messages."""
        text = f"{self.kind} {self.phase} at {self.at}"
        if self.phase == "mid-write":
            text += f" after {self.after_items} items"
        for name in ("task", "session", "marker"):
            value = getattr(self, name)
            if value:
                text += f", no {name}" if value == NONE else f", {name} {value}"
        if self.times > 1:
            return f"{text}, tries {self.attempt} to {self.attempt + self.times - 1}"
        return text if self.attempt == 1 else f"{text}, try {self.attempt}"


def exact(
    site: Site,
    /,
    *,
    phase: str,
    kind: str,
    mode: str = "panic",
    scope: str = "process",
    after_items: int = 0,
    for_ms: int | None = None,
) -> Fault:
    """The fault that strikes this site and no other.

    >>> site = Site(session="s1", task="", port="leases.acquire", marker="s1", attempt=2)
    >>> exact(site, phase="before-send", kind="silence").where()
    'silence before-send at leases.acquire, no task, session s1, marker s1, try 2'
    """
    return Fault(
        at=site.port,
        phase=phase,
        kind=kind,
        session=site.session or NONE,
        task=site.task or NONE,
        marker=site.marker or NONE,
        attempt=site.attempt,
        after_items=after_items,
        for_ms=for_ms,
        scope=scope,
        mode=mode,
    )


def known_place(at: str, /) -> bool:
    """Whether `at` is a role, a port, a tool or a Wasm module by name."""
    if at in ROLES or at in PORTS:
        return True
    head, dot, tail = at.partition(".")
    return dot == "." and bool(tail) and head in ("tools", "wasm")


def problem(fault: Fault, /) -> str:
    """Why a fault cannot be, in words; "" where it can."""
    if not known_place(fault.at):
        return f"there is no place {fault.at!r}"
    if fault.kind not in KINDS:
        return f"there is no kind {fault.kind!r}"
    if fault.phase not in PHASES:
        return f"there is no phase {fault.phase!r}"
    if fault.phase == "mid-write":
        if fault.at != "memory.write_many":
            return f"phase mid-write exists only on memory.write_many, not on {fault.at}"
        if fault.kind not in MID_WRITE_KINDS:
            return f"{fault.kind} cannot strike in the middle of a group of writes"
        if fault.after_items < 1:
            return "phase mid-write needs after_items of 1 or more"
        return ""
    return _place_problem(fault)


def _place_problem(fault: Fault) -> str:
    if fault.after_items:
        return "after_items goes with phase mid-write alone"
    if fault.phase not in KINDS[fault.kind][0]:
        return f"{fault.kind} cannot strike {fault.phase}"
    if fault.kind == "trap" and (not fault.at.startswith("wasm") or fault.at == "wasm.instantiate"):
        return f"trap happens inside a Wasm guest (at = wasm:*), not at {fault.at}"
    if fault.kind == "trap" and fault.mode not in TRAP_MODES:
        return f"there is no trap mode {fault.mode!r}; there are {', '.join(TRAP_MODES)}"
    if fault.kind in MODEL_KINDS and fault.at != "model.complete":
        return f"{fault.kind} is the model's own fault, not one of {fault.at}"
    if fault.kind in ("duplicate", "reorder") and fault.at.startswith("wasm"):
        return f"{fault.kind} needs a network between the caller and {fault.at}"
    if fault.scope not in SCOPES:
        return f"there is no scope {fault.scope!r}"
    return ""
