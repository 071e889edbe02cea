"""A plain agent without memory: right where nothing goes wrong. The bad ones are made from it."""

import json

from chaoslab.world import Claim, Outcome


class Plain:
    async def start(self, world):
        self.world = world

    async def handle(self, task):
        messages, claims = [{"role": "user", "content": task.prompt}], []
        for _ in range(10):
            reply = await self.world.model.complete(messages, deadline_ms=5_000)
            if not reply.tool_calls:
                break
            call = reply.tool_calls[0]
            ref = await self.act(task, call.name, dict(call.args))
            claims.append(
                Claim(tool=call.name, marker=self.world.marker_of(call.name, call.args), ref=ref)
            )
            told = {"id": call.id, "name": call.name}
            messages.append({"role": "assistant", "tool_calls": [{**told, "args": call.args}]})
            messages.append({"role": "tool", **told, "content": {"ref": ref}})
        return Outcome(task=task.id, status="completed", claims=tuple(claims))

    async def act(self, task, tool, args):
        if tool == "ticket":
            instance = await self.world.wasm.instantiate("ticket")
            data = json.dumps({"key": task.id, **args}).encode()
            return json.loads(await instance.call("open_ticket", data, fuel=10_000_000))["ref"]
        key = f"{task.id}:{tool}"
        return (await self.world.tools.call(tool, args, key=key, deadline_ms=60_000)).ref

    async def stop(self):
        pass


def make_agent():
    return Plain()
