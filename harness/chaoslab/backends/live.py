"""The door to executions on real processes. What they need beyond the base install is imported
only here, so that the simulator works without it."""

from __future__ import annotations

import sys

from chaoslab.backends.api import Answering, ExecutionEnd, ExecutionSpec
from chaoslab.contract.target import Target
from chaoslab.core.errors import UsageError
from chaoslab.history import Writer


def run_live(
    spec: ExecutionSpec, writer: Writer, /, *, answering: Answering | None = None
) -> ExecutionEnd:
    """Runs one execution on real processes, with another model than the scripted one where
    `answering` is given. UsageError where the packages for it are missing."""
    check_packages(containers=spec.target is not None and spec.target.containers)
    from chaoslab.backends.process.execution import run_process  # noqa: PLC0415

    return run_process(spec, writer, answering=answering)


def check_packages(*, containers: bool = False) -> None:
    """UsageError where the extra is not installed; with `containers` also where no Docker daemon
    can be used, or has nothing to make regions of."""
    try:
        import mcp  # noqa: F401, PLC0415
        import starlette  # noqa: F401, PLC0415
        import uvicorn  # noqa: F401, PLC0415
    except ImportError as error:
        raise UsageError(
            f"an agent in a process of its own needs more than the base install: {error}",
            hint="pip install 'chaoslab[serve]'",
        ) from None
    if containers:
        from chaoslab.backends.docker import check_docker  # noqa: PLC0415

        check_docker()


def check_toxiproxy(how: str, /) -> None:
    """UsageError or LabError where such a server cannot be had, before anything runs."""
    from chaoslab.links.servers import stand  # noqa: PLC0415

    with stand(how):
        pass


def shim_target(agent: str, /, *, containers: bool = False) -> Target:
    """An adapter (`path.py:factory`) in a process of its own, with regions as `containers` or as
    processes."""
    return Target(
        commands=((sys.executable, "-m", "chaoslab.adapters.remote", agent),),
        ready="ports",
        speed=10,
        linger_ms=1_000,
        timeout_ms=60_000,
        containers=containers,
    )
