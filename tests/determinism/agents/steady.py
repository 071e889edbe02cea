"""Refunds and tells the customer, one step after the other, with keys and a look-up."""

from chaoslab.world import Agent, Claim, Indeterminate, Outcome, Refused, Task, World


class Steady:
    """Keeps an idempotency key per step and asks before it repeats what has none."""

    async def start(self, world: World) -> None:
        self.world = world

    async def stop(self) -> None:
        pass

    async def handle(self, task: Task) -> Outcome:
        messages = [{"role": "user", "content": task.prompt}]
        claims = []
        for step in range(6):
            reply = await self.ask(messages)
            if not reply.tool_calls:
                return Outcome(
                    task=task.id, status="completed", answer=reply.text, claims=tuple(claims)
                )
            for call in reply.tool_calls:
                done = await self.act(call.name, dict(call.args), f"{task.id}/{step}")
                if done is None:
                    return Outcome(task=task.id, status="uncertain", claims=tuple(claims))
                claims.append(
                    Claim(
                        tool=call.name,
                        marker=self.world.marker_of(call.name, call.args),
                        ref=done.ref,
                    )
                )
                messages.append({"role": "tool", "id": call.id, "content": {"ref": done.ref}})
        return Outcome(task=task.id, status="failed")

    async def ask(self, messages):
        while True:
            try:
                return await self.world.model.complete(messages, deadline_ms=5_000)
            except Indeterminate:
                await self.world.clock.sleep(100)

    async def act(self, name, args, key):
        for wait_ms in (500, 2_000, 8_000):
            try:
                return await self.world.tools.call(name, args, key=key, deadline_ms=40_000)
            except Refused:
                await self.world.clock.sleep(wait_ms)
            except Indeterminate:
                if name == "notify":
                    return None
        return None


def make() -> Agent:
    return Steady()
