"""Guests in WebAssembly: loading, calling, classifying and dropping them.

Agents run tools as Wasm modules because a fault inside stays inside. That is half true. The trap
is contained; the *instance* is not what it was, and if it is used again it may answer with what
the failed call left in its memory. This package makes such faults happen, at a chosen point in
real compiled code, and says of every call what it did to the instance.

>>> class Desk:
...     plan = None
...     def commit(self, request, /):
...         return 0, b'{"ref": "T-1", "absorbed": false}'
...     def fault(self, point, /):
...         return self.plan if point == "before-commit" else None
...     def log(self, text, /):
...         pass
>>> def ticket(customer):
...     text = '{"order":"A-1","customer":"%s","subject":"late","body":"where is it?"}'
...     return (text % customer).encode()
>>> desk = Desk()
>>> guest = GuestInstance(load_module("ticket", "unwind"), id="guest-1")
>>> desk.plan = "panic"
>>> result = guest.call("open_ticket", ticket("Ada"), fuel=10_000_000, host=desk)
>>> result.status, result.output, result.poisoned
('panicked', b'', 'panic caught at the export')

The instance looks healthy, and it is not: Grace is shown what Ada wrote.

>>> desk.plan = None
>>> guest.call("count", b"", fuel=10_000_000, host=desk).output
b'0'
>>> again = guest.call("open_ticket", ticket("Grace"), fuel=10_000_000, host=desk)
>>> again.status, b"Ada" in again.output, b"Grace" in again.output
('ok', True, True)

A fresh instance costs well under a millisecond, and it knows nothing of Ada.

>>> guest.retire()
>>> guest = GuestInstance(load_module("ticket", "unwind"), id="guest-2")
>>> fresh = guest.call("open_ticket", ticket("Grace"), fuel=10_000_000, host=desk)
>>> fresh.status, b"Ada" in fresh.output
('ok', False)
"""

from __future__ import annotations

from chaoslab.wasm.errors import (
    GuestBroke,
    InstanceBusy,
    InstanceRetired,
    ModuleRefused,
    ReentryRefused,
)
from chaoslab.wasm.host import (
    BAD_REQUEST,
    REENTERED,
    REFUSED,
    REPLY_TOO_LONG,
    UNAVAILABLE,
    Host,
)
from chaoslab.wasm.instance import (
    FUEL_MAX,
    MEMORY_LIMIT_BYTES,
    GuestInstance,
    GuestResult,
    Status,
)
from chaoslab.wasm.module import Module, load_module

__all__ = [
    "BAD_REQUEST",
    "FUEL_MAX",
    "MEMORY_LIMIT_BYTES",
    "REENTERED",
    "REFUSED",
    "REPLY_TOO_LONG",
    "UNAVAILABLE",
    "GuestBroke",
    "GuestInstance",
    "GuestResult",
    "Host",
    "InstanceBusy",
    "InstanceRetired",
    "Module",
    "ModuleRefused",
    "ReentryRefused",
    "Status",
    "load_module",
]
