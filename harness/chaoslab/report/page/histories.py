"""A history in the form in which the page draws it: columns of numbers, and values apart.

A drawing needs of each entry when, who, what and which call; what was said is looked at for one
entry at a time. So the skeleton of a history holds everything but the values, each word once and
each column as a list of numbers: 100,000 entries then take less room than a photograph and are
read at once. The values follow in blocks, and the page opens a block when somebody selects an
entry of it. The fields are those of `docs/reference/history.md`; a time is in microseconds and
told as the difference to the entry before.

All words are masked and then made visible: what an agent wrote must neither show what is not to
be seen, nor turn the text around it.

>>> from chaoslab.check.masking import NO_MASK
>>> from chaoslab.history import Op
>>> view = View([Op(index=0, time_ns=0, type="invoke", f="tools.refund", process="east-1"),
...              Op(index=1, time_ns=9_000, type="info", f="tools.refund", call=0,
...                 value={"error": "killed"})])
>>> shown = skeleton(view, Contract(), NO_MASK)
>>> [lane["label"] for lane in shown["lanes"]], shown["lane"], shown["peer"]
(['east-1', 'refund', 'lab'], [0, 0], [1, 1])
>>> shown["type"], shown["t_us"], shown["strings"][shown["label"][1]]
('in', [0, 9], 'killed')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from chaoslab.check.masking import NO_MASK, Mask
from chaoslab.contract import Contract
from chaoslab.core.jsons import Json, canonical
from chaoslab.core.visible import visible
from chaoslab.history import Op, View

BLOCK: Final = 2000
LABEL_MAX: Final = 60
_WORD_MAX: Final = 300
_PARTS_MAX: Final = 50_000
_TYPES: Final = {"invoke": "i", "ok": "o", "fail": "f", "info": "n", "commit": "c", "event": "e"}
_CALLS: Final = frozenset(("invoke", "ok", "fail", "info"))
_PORTS: Final = {"model": "model", "memory": "memory", "leases": "leases", "network": "network"}
# What a process says and does, and what it says of a task; the rest is the lab's.
_OWN_EVENTS: Final = ("process.", "report.", "task.outcome", "task.raised")
# A number beyond this is another one in a browser.
_EXACT_MAX: Final = 2**53 - 1


class _Once(Mask):
    """A mask that looks at each text and each part of a value once, and makes texts visible on
    the way. What a history holds comes again and again (a record is asked for, committed and
    read), and to look through all of it is most of what a page costs."""

    __slots__ = ("_parts", "_texts")

    def __init__(self, mask: Mask) -> None:
        for slot in Mask.__slots__:
            setattr(self, slot, getattr(mask, slot))
        self._texts: dict[str, str] = {}
        self._parts: dict[str, Json] = {}

    def value(self, value: Json) -> Json:
        """The value of an entry; as a whole it hardly ever comes again."""
        return super().json(value)

    def json(self, value: Json, /) -> Json:
        """A part of a value."""
        if type(value) is str:
            return self.text(value)
        if type(value) is not dict and type(value) is not list:
            return super().json(value)
        name = canonical(value)
        found = self._parts.get(name)
        if found is None:
            found = super().json(value)
            if len(self._parts) < _PARTS_MAX:
                self._parts[name] = found
        return found

    def text(self, text: str, /) -> str:
        """A text of a value; its line breaks stay."""
        found = self._texts.get(text)
        if found is None:
            found = visible(super().text(text), lines=True)
            if len(self._texts) < _PARTS_MAX:
                self._texts[text] = found
        return found


class _Words:
    """Each word once, masked and visible; -1 is no word. Two words stay two even where the mask
    makes them look the same, since a drawing joins entries by them."""

    def __init__(self, mask: Mask) -> None:
        self.shown: list[str] = []
        self._mask = mask
        self._known: dict[str, int] = {}
        self._labels: dict[str, int] = {}

    def word(self, raw: str | None) -> int:
        """The number of a word."""
        if not raw:
            return -1
        found = self._known.get(raw)
        if found is None:
            found = self._known[raw] = len(self.shown)
            self.shown.append(self.plain(raw, _WORD_MAX))
        return found

    def label(self, raw: str) -> int:
        """The number of a text that stands beside an entry and must be short."""
        if not raw or len(raw) <= LABEL_MAX:
            return self.word(raw)
        found = self._labels.get(raw)
        if found is None:
            found = self._labels[raw] = len(self.shown)
            self.shown.append(self.plain(raw, LABEL_MAX))
        return found

    def plain(self, raw: str, most: int) -> str:
        """Masked before it is cut: half a secret is one that no mask knows."""
        text = visible(self._mask.text(raw))
        return text if len(text) <= most else text[: most - 1] + "…"


class _Lanes:
    """Who stands where: processes in order of appearance, then services, then the lab."""

    def __init__(self, view: View, contract: Contract, words: _Words) -> None:
        self._view, self._words = view, words
        self._processes: dict[str, str] = {}  # name -> region
        self._modules: dict[str, str] = {}  # Wasm instance -> module
        regions: dict[str, None] = {}
        ports: dict[str, None] = {}
        for op in view.ops:
            if op.process or op.type == "invoke":
                self._processes.setdefault(op.process, "")
            if op.f == "process.start" and not self._processes[op.process]:
                self._processes[op.process] = _text(op.get("region"))
            elif op.f == "wasm.instantiate" and op.type == "ok":
                self._modules[_text(op.get("instance"))] = _text(op.get("module"))
            elif op.type == "commit" and op.f.startswith("memory."):
                regions[_text(op.get("region"))] = None
        regions.pop("", None)
        self._regions = list(regions) if len(regions) > 1 else []
        for op in view.ops:
            port = self._port(op)
            if port:
                ports[port] = None
        # A process that asked without a name is one more; it is only named where it appears.
        self.all: list[dict[str, str]] = []
        self._index: dict[str, int] = {}
        for name, region in self._processes.items():
            self._add(f"process.{name}", "process", name or "the agent", region)
        order = {f"tools.{name}": n for n, name in enumerate(contract.tools)}
        for port in sorted(ports, key=lambda name: (_rank(name), order.get(name, len(order)))):
            self._add(port, *self._named(port))
        self._add("lab", "lab", "lab", "")
        self.lab = self._index["lab"]

    def _add(self, lane: str, kind: str, label: str, region: str) -> None:
        plain = self._words.plain
        self._index[lane] = len(self.all)
        shown = {"id": plain(lane, _WORD_MAX), "label": plain(label, LABEL_MAX)}
        self.all.append({**shown, "kind": kind, "region": plain(region, LABEL_MAX)})

    def _named(self, port: str) -> tuple[str, str, str]:
        """Kind, label and region of a service's lane."""
        head, _, tail = port.partition(".")
        if head == "tools":
            return "tool", tail, ""
        if head == "memory" and tail:
            return head, f"memory ({tail})", tail
        return head, f"{head} {tail}".rstrip(), ""

    def process(self, name: str) -> int:
        """The lane of a process, -1 where there is none of that name."""
        return self._index.get(f"process.{name}", -1)

    def port(self, op: Op) -> int:
        """The lane of the service that an entry is about, -1 where it is about none."""
        return self._index.get(self._port(op), -1)

    def _port(self, op: Op) -> str:
        head, _, tail = op.f.partition(".")
        if head == "tools":
            return f"tools.{tail.removesuffix('.lookup')}"
        if head == "wasm":
            return self._module(op, tail)
        if head == "memory" and self._regions:
            return f"memory.{self._region(op)}"
        return _PORTS.get(head, "")

    def _module(self, op: Op, tail: str) -> str:
        if tail == "instantiate":
            asked = _asked_by(self._view, op) or op
            tail = _text(asked.get("module")) or asked.marker
        elif tail in ("poisoned", "retired"):
            tail = self._modules.get(_text(op.get("instance")), "")
        return f"wasm.{tail}" if tail else ""

    def _region(self, op: Op) -> str:
        """Where a call to memory went: where it was committed, or who answered, or the region of
        the process that asked."""
        if op.type == "commit":
            return _text(op.get("region")) or self._regions[0]
        asked = op.index if op.type == "invoke" else op.call
        for told in (*self._view.commits(asked)[:1], self._view.completion(asked)):
            region = _text(told.get("region")) if told is not None else ""
            if region in self._regions:
                return region
        own = self._processes.get(op.process, "")
        return own if own in self._regions else self._regions[0]


def _asked_by(view: View, op: Op) -> Op | None:
    """The request that an entry belongs to; None where the history does not have it."""
    if 0 <= op.call < len(view) and view[op.call].type == "invoke":
        return view[op.call]
    return None


def _rank(port: str) -> int:
    """Tools, Wasm modules, model, memory, leases, network; a sort keeps the rest of the order."""
    return ("tools", "wasm", *_PORTS).index(port.partition(".")[0])


def skeleton(view: View, contract: Contract, mask: Mask, /) -> dict[str, Any]:
    """Everything of a history but its values, see the top of this file. Tools stand in the order
    of the contract, so that the histories of a campaign look alike; one that nobody called has
    no lane."""
    words = _Words(mask)
    lanes = _Lanes(view, contract, words)
    columns: dict[str, list[int]] = {name: [] for name in _COLUMNS}
    add = [columns[name].append for name in _COLUMNS]
    word, label, size, last = words.word, words.label, len(view), 0
    for op in view.ops:
        lane, peer = _stands(view, lanes, op)
        time = op.time_ns // 1000
        row = (
            time - last,
            word(op.f),
            lane,
            peer,
            op.call if op.call < size else -1,
            word(op.task),
            word(op.session),
            word(op.marker),
            word(op.key),
            op.attempt,
            label(label_of(op)),
        )
        last = time
        for put, cell in zip(add, row, strict=True):
            put(cell)
    return {
        "ops": size,
        "strings": words.shown,
        "lanes": lanes.all,
        "block": BLOCK,
        "type": "".join([_TYPES[op.type] for op in view.ops]),
        **columns,
    }


_COLUMNS: Final = (
    *("t_us", "f", "lane", "peer", "call", "task", "session", "marker", "key"),
    *("attempt", "label"),
)


def _stands(view: View, lanes: _Lanes, op: Op) -> tuple[int, int]:
    """The lane of an entry, and the lane on the other end of its call. An answer belongs to who
    asked, also where that process was dead when the answer was recorded."""
    asked = _asked_by(view, op) if op.call >= 0 else None
    name = op.process if op.process or asked is None else asked.process
    # Only who asked may be without a name; a service that acts by itself is nobody.
    process = lanes.process(name) if name or asked or op.type == "invoke" else -1
    if op.type in _CALLS:
        return (process if process >= 0 else lanes.lab), lanes.port(op)
    port = lanes.port(op)
    if op.type == "commit" or port >= 0:
        return (port, process) if port >= 0 else (lanes.lab, process)
    return (process, -1) if op.f.startswith(_OWN_EVENTS) and process >= 0 else (lanes.lab, process)


def value_blocks(view: View, mask: Mask, /) -> Iterator[list[Json]]:
    """The values of a history, `BLOCK` entries at a time; at least one block.

    >>> [len(block) for block in value_blocks(View(()), NO_MASK)]
    [0]
    """
    once = None if mask is NO_MASK else _Once(mask)
    for start in range(0, max(1, len(view)), BLOCK):
        block: list[Json] = [op.value for op in view.ops[start : start + BLOCK]]
        if once is not None:
            block = [None if value is None else once.value(value) for value in block]
        fits = _fits_a_browser(block, _NUMBER if once is not None else _DOUBTFUL)
        yield block if fits else [browser_safe(value) for value in block]


def _fits_a_browser(block: list[Json], doubtful: re.Pattern[str]) -> bool:
    """Whether nothing in a block has to be spelled another way. One search over its text is a
    tenth of what a walk through its values costs."""
    try:
        return doubtful.search(canonical(block)) is None
    except (ValueError, TypeError):  # no number, which nothing of ours writes
        return False


# As they stand in a canonical text: a number of many digits; and all that `visible` looks at.
_NUMBER: Final = re.compile(r"[:,[]-?\d{16}")
_DOUBTFUL: Final = re.compile(r"[^\x20-\x7e]|\\[bfrtu]|\d{16}|::|##")


def browser_safe(value: Any, /) -> Json:
    """A value that a browser reads as it was meant: what is hidden in a text is spelled out, and
    a number that a browser would round is a text of its digits. Line breaks stay.

    >>> browser_safe({"a\\u202eb": [2**53, 7, "x\\ny"]})
    {'a\\\\u202eb': ['9007199254740992', 7, 'x\\ny']}
    """
    if isinstance(value, str):
        return visible(value, lines=True)
    if isinstance(value, Mapping):
        return {str(browser_safe(str(k))): browser_safe(item) for k, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [browser_safe(item) for item in value]
    if isinstance(value, float):
        return value if abs(value) <= _EXACT_MAX else str(value)  # false for what is no number
    if isinstance(value, int) and abs(value) > _EXACT_MAX:
        return str(value)
    return value if value is None or isinstance(value, int) else str(value)


def label_of(op: Op, /) -> str:
    """A few words that say what an entry brought, or "" where its other fields say it all.

    >>> label_of(Op(index=0, time_ns=0, type="event", f="nemesis.strike",
    ...             value={"kind": "silence", "phase": "after-commit"}))
    'silence after-commit'
    >>> label_of(Op(index=0, time_ns=0, type="commit", f="memory.write",
    ...             value={"id": "session/s1", "version": [1, 7]}))
    'session/s1 version 1.7'
    """
    if not isinstance(op.value, Mapping):
        return ""
    value: Mapping[str, Any] = op.value
    if op.type == "invoke":
        url = value.get("url") if op.f == "network.request" else None
        return f"{_text(value.get('method'))} {_text(url)}".strip() if url else ""
    if op.type in ("fail", "info"):
        return _text(value.get("error"))
    if op.type == "event":
        tell = _EVENTS.get(op.f)
        return tell(value) if tell is not None else _absorbed(value)
    ref = value.get("ref")
    output = value.get("output")
    if ref is None and isinstance(output, Mapping):
        ref = output.get("ref")
    if ref is not None:
        return _text(ref)
    return _committed(value) if op.type == "commit" else _answered(value)


def _committed(value: Mapping[str, Any]) -> str:
    if "fence" in value and "holder" in value:
        return f"{_text(value.get('session'))} fence {_text(value.get('fence'))}"
    if value.get("erased"):
        return f"{_text(value.get('id'))} erased"
    if "version" in value:
        return f"{_text(value.get('id'))} version {_version(value['version'])}"
    return _text(value.get("method"))


def _answered(value: Mapping[str, Any]) -> str:
    calls = value.get("tool_calls")
    if isinstance(calls, (list, tuple)):
        named = [_text(call.get("name")) for call in calls if isinstance(call, Mapping)]
        return f"calls {', '.join(named)}" if named else "answers"
    if value.get("found") is False:
        return "nothing there"
    if "version" in value:
        return f"version {_version(value['version'])}"
    if isinstance(value.get("items"), (list, tuple)):
        return f"{len(value['items'])} items"
    if "fence" in value:
        return f"fence {_text(value['fence'])}"
    return _text(value.get("status") or value.get("instance"))


def _absorbed(value: Mapping[str, Any]) -> str:
    ref = value.get("absorbed")
    return f"repeat of {_text(ref)}" if ref else ""


def _version(raw: Any) -> str:
    return ".".join(map(_text, raw)) if isinstance(raw, (list, tuple)) else _text(raw)


def _text(raw: Any) -> str:
    """Whatever stands in a field, as a text; agents and foreign services write these too."""
    if isinstance(raw, str):
        return raw
    if raw is None:
        return ""
    try:
        return canonical(raw)
    except (ValueError, TypeError):
        return str(raw)


def _strike(value: Mapping[str, Any]) -> str:
    parts = (value.get("kind"), value.get("phase"), value.get("mode"))
    return " ".join(_text(part) for part in parts if part)


def _promoted(value: Mapping[str, Any]) -> str:
    lost = value.get("lost")
    count = len(lost) if isinstance(lost, (list, tuple)) else 0
    tail = f", {count} {'write' if count == 1 else 'writes'} lost" if count else ""
    return _text(value.get("region")) + tail


def _submitted(value: Mapping[str, Any]) -> str:
    number = value.get("delivery")
    return f"delivery {number}" if isinstance(number, int) and number > 1 else ""


def _named_tasks(name: str) -> Callable[[Mapping[str, Any]], str]:
    def told(value: Mapping[str, Any]) -> str:
        tasks = value.get(name)
        return ", ".join(map(_text, tasks)) if isinstance(tasks, (list, tuple)) else ""

    return told


def _field(*names: str) -> Callable[[Mapping[str, Any]], str]:
    """The first of some fields that says something."""

    def told(value: Mapping[str, Any]) -> str:
        return next((text for name in names if (text := _text(value.get(name)))), "")

    return told


_WHY: Final = _field("why")
_EVENTS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "nemesis.strike": _strike,
    "process.start": _WHY,
    "process.ready": _WHY,
    "process.kill": _WHY,
    "process.pause": _WHY,
    "process.resume": _WHY,
    "process.stop": _WHY,
    "process.recovers": _named_tasks("tasks"),
    "task.submit": _submitted,
    "task.outcome": _field("status"),
    "task.raised": _field("error"),
    "report.intent": _field("tool"),
    "report.outcome": _field("status"),
    "report.transition": _field("state"),
    "report.log": _field("text"),
    "region.down": _field("region"),
    "region.partition": _field("region"),
    "region.join": _promoted,
    "region.promote": _promoted,
    "wasm.poisoned": _field("reason"),
    "wasm.retired": _field("reason"),
    "lab.deadlock": _named_tasks("waiting"),
    "lab.timeout": _named_tasks("waiting"),
    "lab.budget": _field("limit"),
    "final.effects": _field("tool"),
}
