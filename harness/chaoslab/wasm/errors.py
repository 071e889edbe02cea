"""What can go wrong around a guest, apart from what the guest itself does.

    UsageError
    ├── ModuleRefused         a module that is missing, damaged or of another shape
    ├── InstanceRetired       a call to an instance that was dropped on purpose
    └── ReentryRefused        a call into an instance that is inside a call already
    LabError
    ├── InstanceBusy          two threads at one instance, which would end the process
    └── GuestBroke            the guest keeps to the types of its exports but not to their rules

A panic or a trap is none of these: it is a result, since provoking it is what the lab is for.
"""

from __future__ import annotations

from chaoslab.core.errors import LabError, UsageError


class ModuleRefused(UsageError):
    """A file that is not the module it should be; nothing of it was compiled or run."""


class InstanceRetired(UsageError):
    """The instance was retired, so its memory is gone and it answers nothing any more."""


class ReentryRefused(UsageError):
    """A host import called back into the instance that had called it."""


class InstanceBusy(LabError):
    """A second thread called an instance during a call; it was not let in."""


class GuestBroke(LabError):
    """A guest gave a status or an address that its interface does not have."""
