"""Everything of asyncio at once: groups, timeouts, queues, races, sets of tasks, cancellations."""

import asyncio

from chaoslab.world import Outcome, WorldError


class Tangled:
    async def start(self, world):
        self.world = world
        self.queue = asyncio.Queue(maxsize=3)
        self.lock = asyncio.Lock()
        self.workers = [asyncio.create_task(self.work()) for _ in range(3)]

    async def stop(self):
        for worker in self.workers:
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)

    async def work(self):
        while True:
            job, future = await self.queue.get()
            try:
                result = await job()
            except WorldError as error:
                result = error.code
            if not future.done():
                future.set_result(result)
            self.queue.task_done()

    async def put(self, job):
        future = asyncio.get_running_loop().create_future()
        await self.queue.put((job, future))
        return await future

    async def nap(self, number):
        try:
            await self.world.clock.sleep(self.world.random.randrange(50))
            await asyncio.sleep(self.world.random.random())
            self.world.report.log("slept", number=number)
        finally:
            self.world.report.log("over", number=number)

    async def late(self):
        await self.world.clock.sleep(200)
        raise ValueError("late")

    async def handle(self, task):
        order = task.data["order"]

        def pay(part):
            return lambda: self.world.tools.call(
                "refund", {"order": f"{order}.{part}"}, key=f"{order}.{part}", deadline_ms=3_000
            )

        await asyncio.gather(*(self.put(pay(part)) for part in range(5)))
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(self.nap(number))
                group.create_task(self.late())
        except* ValueError:
            self.world.report.log("torn down")
        racing = {asyncio.ensure_future(self.nap(100 + n)) for n in range(8)}
        done, pending = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
        for loser in pending:
            loser.cancel()
        self.world.report.log("race", done=len(done), names=[t.get_name() for t in done])
        try:
            async with asyncio.timeout(0.03), self.lock:
                await self.world.memory.scan("")
                await asyncio.sleep(1)
        except TimeoutError:
            self.world.report.log("timed out")
        async for number in self.stream():
            self.world.report.log("streamed", number=number)
            if number == 2:
                break
        return Outcome(task=task.id, status="completed", answer=order)

    async def stream(self):
        try:
            for number in range(9):
                await asyncio.sleep(0)
                yield number
        finally:
            self.world.report.log("stream closed")


def make():
    return Tangled()
