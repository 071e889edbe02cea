"""The append-only record of an execution, on disk and as a view with indexes."""

from chaoslab.history.jsonl import FORMAT, Nowhere, Stored, Writer, read
from chaoslab.history.op import Op, OpType
from chaoslab.history.recorder import Recorder
from chaoslab.history.view import Operation, View, tool_of

__all__ = [
    "FORMAT",
    "Nowhere",
    "Op",
    "OpType",
    "Operation",
    "Recorder",
    "Stored",
    "View",
    "Writer",
    "read",
    "tool_of",
]
