"""The services of the team's own: started fresh where the contract says how, and their ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from chaoslab.backends.process.children import Child
from chaoslab.backends.process.holes import fill_all, free_port
from chaoslab.backends.process.http import reachable
from chaoslab.contract import Contract
from chaoslab.contract.target import Upstream
from chaoslab.core.errors import LabError
from chaoslab.core.jsons import Json
from chaoslab.serve.handlers import preload
from chaoslab.serve.holes import filled
from chaoslab.serve.loopback import check_address
from chaoslab.serve.sources import Source, source_of

if TYPE_CHECKING:
    from chaoslab.backends.process.setting import Setting

_READY_S = 20


class Services:
    """See the module."""

    def __init__(self, setting: Setting, contract: Contract) -> None:
        self._setting, self._contract = setting, contract
        self._children: list[Child] = []
        self.servers: Any = None

    async def start(self) -> Contract:
        """Starts what is to be started; the contract with the addresses of this execution.

        UsageError where a service is neither on loopback nor listed, before anything is started.
        """
        services: dict[str, Upstream] = {}
        for name, one in self._contract.services.items():
            holes = self._holes() | {"port": str(free_port())}
            found = replace(
                one,
                url=filled(one.url, holes),
                mcp=filled(one.mcp, holes),
                mcp_command=fill_all(one.mcp_command, holes),
                database=filled(one.database, holes),
                ready=filled(one.ready, holes),
                env={name: filled(text, holes) for name, text in one.env.items()},
            )
            for url in filter(None, (found.url, found.mcp)):
                check_address(url, one.hosts)
            if one.start:
                await self._start(found, fill_all(one.start, holes), holes)
            services[name] = found
        if any(one.mcp or one.mcp_command for one in services.values()):
            from chaoslab.serve.mcp.upstreams import Upstreams  # noqa: PLC0415 - slow to import

            setting = self._setting
            self.servers = Upstreams(services, environ=setting.plain_env(), cwd=str(setting.cwd))
        if self.servers is not None or "{mcp}" in self._setting.target.env.values():
            preload()
        return replace(self._contract, services=services)

    def _holes(self) -> dict[str, str]:
        hub = self._setting.hub
        return {
            "state": str(self._setting.state),
            "run": hub.run,
            "seed": str(hub.spec.seed),
        }

    async def _start(self, one: Upstream, argv: tuple[str, ...], holes: Mapping[str, str]) -> None:
        setting = self._setting
        env = setting.plain_env() | {k: filled(v, holes) for k, v in one.env.items()}
        child = await Child.start(argv, env, setting.cwd)
        self._children.append(child)
        until = asyncio.get_running_loop().time() + _READY_S
        while child.running and asyncio.get_running_loop().time() < until:
            if await reachable(one.ready or one.url or one.mcp, http=bool(one.ready)):
                return
            await asyncio.sleep(0.03)
        await child.drained()
        how = "is not ready" if child.running else "ended"
        raise LabError(
            f"the service {one.name} {how}; it said: {child.last_words() or 'nothing'}",
            value=list(argv),
            hint=f"start it by hand; see [services.{one.name}]",
        )

    def sources(self, contract: Contract) -> dict[str, Source]:
        """Where the effects of each tool are read."""
        return {
            name: source_of(tool, contract, self._holes(), call_mcp=self._call)
            for name, tool in contract.tools.items()
            if tool.effects is not None
        }

    async def _call(self, service: str, tool: str, args: Mapping[str, Json]) -> Json:
        return cast(Json, await self.servers.call(service, tool, args, {}))

    async def close(self) -> None:
        """Ends what was started."""
        if self.servers is not None:
            await self.servers.close()
        for child in self._children:
            child.close()
        self._children.clear()
