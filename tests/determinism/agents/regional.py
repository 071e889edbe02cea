"""Owns sessions by lease, writes with fences, resumes by itself after a reboot."""

import asyncio

from chaoslab.world import Conflict, Held, Outcome, WorldError, Write


class Regional:
    async def start(self, world):
        self.world = world
        self.tasks = set()

    async def stop(self):
        pass

    async def recover(self):
        found = []
        for item in await self.world.memory.scan("open/"):
            id, value = item.id.removeprefix("open/"), item.value
            found.append(id)
            self.tasks.add(asyncio.create_task(self.resume(id, value)))
        return found

    async def resume(self, id, value):
        with self.world.acting(task=id, session=value["session"]):
            try:
                outcome = await self.finish(id, value)
            except WorldError as error:
                outcome = Outcome(task=id, status="uncertain", reason=error.code)
            self.world.report.outcome(outcome)

    async def handle(self, task):
        value = {"session": task.session, "order": task.data["order"]}
        try:
            lease = await self.world.leases.acquire(task.session, ttl_ms=4_000)
            await self.world.memory.write(
                f"open/{task.id}", value, fence=lease.fence, durability="quorum"
            )
            return await self.finish(task.id, value, lease.fence)
        except Held:
            return Outcome(task=task.id, status="deferred")
        except WorldError as error:
            return Outcome(task=task.id, status="uncertain", reason=error.code)

    async def finish(self, id, value, fence=None):
        order = value["order"]
        while True:
            try:
                await self.world.tools.call("ship", {"order": order}, key=order, deadline_ms=50_000)
                break
            except Conflict:
                await self.world.clock.sleep(3_000)
        await self.world.memory.write_many(
            [Write(id=f"done/{order}/{n}", value=n) for n in range(3)], fence=fence
        )
        await self.world.memory.erase(f"open/{id}")
        return Outcome(task=id, status="completed")


def make():
    return Regional()
