"""One execution without faults, to see what an agent does: for `init --discover` and `doctor`.

It is not judged. Two customers, each with one task of every kind, are enough to tell what all
requests have in common from what belongs to one task.

>>> from chaoslab.core.resources import resource_path
>>> agent = f"{resource_path('fixtures/agents/minimal.py')}:make_agent"
>>> view = calm_view(agent, in_process=True)
>>> len(view.named("task.submit")) == len(view.named("task.outcome")) > 2
True
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from chaoslab.backends.live import check_packages
from chaoslab.contract import Contract
from chaoslab.core.errors import LabError
from chaoslab.history import View, read
from chaoslab.run.plan import calm, execution_of
from chaoslab.run.select import scenario_files, specs_for
from chaoslab.run.team import is_team_file
from chaoslab.run.workers import Workers

_SCENARIO: Final = "matrix/timeout-after-commit"


def calm_view(agent: str, /, *, contract: str | None = None, in_process: bool = False) -> View:
    """What the agent does when nothing goes wrong. LabError where it did not get through, with its
    own words."""
    if is_team_file(agent):
        check_packages()
    spec = specs_for(scenario_files([_SCENARIO]), agent, contract=contract, seeds=[0])[0]
    spec = replace(spec, contract=_listening(spec.contract))
    kinds = len(spec.workload.kinds)
    use = replace(spec.scenario.workload, sessions=2, tasks=kinds, mix=())
    scenario = calm(replace(spec.scenario, workload=use))
    workers = Workers(in_process=in_process)
    with tempfile.TemporaryDirectory(prefix="chaoslab-") as folder:
        path = Path(folder) / "calm.jsonl"
        header = {"scenario": scenario.id, "agent": agent, "seed": spec.seed}
        try:
            told = workers.execute(execution_of(spec, scenario, ()), path, header, "first")
        finally:
            workers.close()
        if told["broke"]:
            raise LabError(
                f"the agent did not get through its tasks without any fault: {told['broke']}",
                hint="mend that first; chaoslab run shows more",
            )
        return View(read(path).ops)


def _listening(contract: Contract) -> Contract:
    """The same contract, but where it knows of no key of a team's own tool, one is looked for at
    the usual place; what passes through the lab is the same."""
    tools = {
        name: replace(tool, keys=True) if tool.match and not tool.key_at else tool
        for name, tool in contract.tools.items()
    }
    return replace(contract, tools=tools)
