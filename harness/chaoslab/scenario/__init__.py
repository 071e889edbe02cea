"""The test as a file: scenarios, workloads, and where they are found."""

from chaoslab.scenario.loader import find_workload, load_scenario, load_workload, scenario_from
from chaoslab.scenario.model import (
    Regions,
    Release,
    Scenario,
    Schedule,
    Service,
    Step,
    TaskKind,
    Use,
    Workload,
)

__all__ = [
    "Regions",
    "Release",
    "Scenario",
    "Schedule",
    "Service",
    "Step",
    "TaskKind",
    "Use",
    "Workload",
    "find_workload",
    "load_scenario",
    "load_workload",
    "scenario_from",
]
