"""Charges twice, and puts words that mean harm wherever an agent may put words."""

from __future__ import annotations

from typing import Any

from chaoslab.world import Claim, Indeterminate, Outcome, Task, World

SCRIPT = "<script>globalThis.hacked = 1</script>"
IMAGE = '"><img src=x onerror="globalThis.hacked=1">'
CLOSING = "</script></style></template>--><svg onload=globalThis.hacked=1>"
LINK = "[x](javascript:globalThis.hacked=1) ![p](http://127.0.0.1:9/pixel) @everyone"
TEMPLATE = "{{ 7*7 }}{% raw %}${globalThis.hacked=1}`"
TERMINAL = "\x1b[2J\x1b[31mHELD\x07\r\n::error::all is fine\u202egnorw\u2028\x00"
WORDS = (SCRIPT, IMAGE, CLOSING, LINK, TEMPLATE, TERMINAL)
EVIL = " ".join(WORDS)


class Hostile:
    async def start(self, world: World, /) -> None:
        self.world = world
        world.report.log(EVIL, **{IMAGE: EVIL})

    async def stop(self) -> None:
        pass

    async def handle(self, task: Task, /) -> Outcome:
        self.world.report.transition(task.session, "active", EVIL)
        messages: list[dict[str, Any]] = [{"role": "user", "content": task.prompt}]
        claims = []
        for turn in range(8):
            reply = await self.world.model.complete(messages, deadline_ms=10_000)
            if not reply.tool_calls:
                break
            [call] = reply.tool_calls
            marker = self.world.marker_of(call.name, call.args)
            self.world.report.intent(call.name, marker, f"{IMAGE}{task.id}{turn}")
            ref = await self.act(call.name, {**call.args, IMAGE: EVIL}, f"{EVIL}{task.id}{turn}")
            claims.append(Claim(tool=call.name, marker=marker, ref=ref))
            told = {"id": call.id, "name": call.name}
            messages.append({"role": "assistant", "tool_calls": [{**told, "args": call.args}]})
            messages.append({"role": "tool", **told, "content": EVIL})
        await self.world.memory.write(f"note/{task.id}", {"said": EVIL, CLOSING: [EVIL]})
        return Outcome(
            task=task.id, status="completed", answer=EVIL, reason=EVIL, claims=tuple(claims)
        )

    async def act(self, tool: str, args: dict[str, Any], key: str) -> str:
        for number in range(3):
            try:
                done = await self.world.tools.call(
                    tool, args, key=f"{key}-{number}", deadline_ms=5_000
                )
                return str(done.ref)
            except Indeterminate:
                await self.world.clock.sleep(500)
        raise RuntimeError(EVIL)


def make_agent() -> Hostile:
    return Hostile()
