"""The people and tasks of an execution: a function of (workload, scenario, seed).

Each session is one customer with a canary: a token that must never appear in anything done for
another session. Profile values carry revision markers, so that two halves of different revisions
are recognised wherever they are used together. A sensitive attribute carries a token with its
name and a canary of its own, so that it is recognised wherever it turns up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from faker import Faker

from chaoslab.core.jsons import Json
from chaoslab.core.rng import number
from chaoslab.scenario.model import Scenario, Step, Workload
from chaoslab.scenario.workloads import HOLE
from chaoslab.world.api import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the model will do for one task: follow the recording as far as it goes, else the
    plan. `error_pattern` is that of the workload."""

    task: str
    prompt: str
    plan: tuple[Step, ...]
    answer: str
    values: Mapping[str, Any]
    recording: tuple[Mapping[str, Json], ...] = ()
    error_pattern: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Tasks in order of submission, grouped by session, and the scripts that go with them."""

    sessions: Mapping[str, tuple[Task, ...]]
    scripts: tuple[Script, ...]


def cast_of(scenario: Scenario, workload: Workload, seed: int, /) -> Cast:
    """All tasks of an execution.

    Kinds of the mix that the workload does not have are passed over: a packaged scenario names
    those of its own business, and is run over a team's tasks all the same.
    """
    use = scenario.workload
    mix = tuple(k for k in use.mix if k in workload.kinds) or tuple(workload.kinds)
    nth = dict.fromkeys((k.name for k in workload.kinds.values()), 0)
    sessions: dict[str, tuple[Task, ...]] = {}
    scripts: list[Script] = []
    for s in range(1, use.sessions + 1):
        session = f"s{s}"
        person = _person(number(seed, f"customer/{session}", below=2**31))
        canary = f"cnry-{session}-{number(seed, f'canary/{session}', below=2**32):08x}"
        tasks = []
        for t in range(1, use.tasks + 1):
            kind = workload.kinds[mix[(t - 1) % len(mix)]]
            values = _values(seed, session, f"{session}-t{t}", person, canary)
            # Lists go round together: the nth order belongs to the nth customer.
            values |= {k: v[nth[kind.name] % len(v)] for k, v in kind.values.items()}
            nth[kind.name] += 1
            task = Task(
                id=f"{session}-t{t}",
                session=session,
                tenant=f"tenant-{session}",
                delivery=1,
                prompt=str(fill(kind.prompt, values)),
                data={k: fill(v, values) for k, v in kind.data.items()},
            )
            tasks.append(task)
            scripts.append(
                Script(
                    task=task.id,
                    prompt=task.prompt,
                    plan=kind.plan,
                    answer=str(fill(kind.answer, values)),
                    values=values,
                    recording=kind.recording,
                    error_pattern=workload.error_pattern,
                )
            )
        sessions[session] = tuple(tasks)
    return Cast(sessions=sessions, scripts=tuple(scripts))


def _values(
    seed: int, session: str, task: str, person: Mapping[str, str], canary: str
) -> dict[str, Any]:
    return {
        "order": f"o-{task}",
        "task": task,
        "session": session,
        "customer": person,
        "canary": canary,
        "attr": {"iban": _iban(seed, session)},
        "amount_cents": 500 + number(seed, f"amount/{task}", below=9_500),
        "mark": {
            part: f"[profile-{session}:{task}:{part}]" for part in ("street", "city", "phone")
        },
    }


def _iban(seed: int, session: str) -> str:
    """An account that nobody has; its token says what it is, and whose."""
    account = number(seed, f"iban/{session}", below=10**8)
    token = f"cnry-{session}-{number(seed, f'attr/{session}/iban', below=2**32):08x}"
    return f"DE00 0000 0000 {account:08d} 00 attr-iban:{token}"


@lru_cache(maxsize=1)
def _faker() -> Faker:
    return Faker("en_US")


@lru_cache(maxsize=4096)
def _person(seed: int) -> Mapping[str, str]:
    fake = _faker()
    fake.seed_instance(seed)
    return {
        "name": fake.name(),
        "email": fake.ascii_safe_email(),
        "street": fake.street_address().replace(";", ","),
        "city": fake.city(),
        "phone": fake.numerify("+1-555-01##"),
    }


def fill(template: Json, values: Mapping[str, Any], /) -> Json:
    """A template with its holes filled; a template that is one hole keeps the value's type.

    >>> fill("{n}", {"n": 7}), fill({"a": "n={n}"}, {"n": 7}), fill("{said.x}", {"said": {}})
    (7, {'a': 'n=7'}, 'unknown')
    """
    if isinstance(template, str):
        whole = HOLE.fullmatch(template)
        if whole:
            found: Json = _value(whole.group(1), values)
            return found
        return HOLE.sub(lambda hole: str(_value(hole.group(1), values)), template)
    if isinstance(template, Mapping):
        return {k: fill(v, values) for k, v in template.items()}
    if isinstance(template, (list, tuple)):
        return [fill(v, values) for v in template]
    return template


def _value(path: str, values: Mapping[str, Any]) -> Any:
    found: Any = values
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return "unknown"
        found = found[part]
    return found
