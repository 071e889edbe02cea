"""The test as a file: scenarios, workloads, and where they are found."""

from chaoslab.scenario.loader import load_scenario, scenario_from
from chaoslab.scenario.model import (
    Reaction,
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
from chaoslab.scenario.workloads import find_workload, load_workload, team_workload

__all__ = [
    "Reaction",
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
    "team_workload",
]
