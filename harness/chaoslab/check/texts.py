"""Everything that Chaoslab says about its checks to a person, in one table.

A reader meets these texts in `chaoslab explain`, in the report and at the end of every
because-chain, so they use plain words: *action* for operation, *try* for attempt, *outcome
unknown* for info. A code may have a line of advice per anomaly, keyed `code/anomaly`.

>>> TEXTS["effects.delivery"].title
'no action happens twice, and none that is claimed is missing'
>>> advice("effects.delivery", "duplicate-effect", "un-keyed-retry")[:41]
'this tool takes no key, so after an unkno'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckText:
    """What one check says: its title, what breaks in practice, what it looks at, and per code
    what the code means and what to do."""

    title: str
    breaks: str
    looks: str
    means: Mapping[str, str]
    todo: Mapping[str, str] = field(default_factory=dict)


_ONE_KEY = (
    "derive the key once from (session, task, action), store it before the first try, and send "
    "the same one on every try, after a restart too."
)

TEXTS: Final[Mapping[str, CheckText]] = {
    "effects.delivery": CheckText(
        title="no action happens twice, and none that is claimed is missing",
        breaks="A customer is refunded twice, or is told of a refund that never happened.",
        looks="For every action, whatever its key or wording, how often it stands in the tool's "
        "own ledger at the end, less what was undone. Claims and the promise of the contract say "
        "how often it should.",
        means={
            "duplicate-effect": "one action stands more than once where once was promised.",
            "missing-effect": "an action that was claimed, or had to happen, stands nowhere.",
            "unexpected-effect": "something stands in the ledger that nobody asked for.",
        },
        todo={
            "duplicate-effect": _ONE_KEY,
            "duplicate-effect/un-keyed-retry": "this tool takes no key, so after an unknown "
            "outcome do not send again: report the task as uncertain.",
            "duplicate-effect/late-commit-of-a-dead-process": "a request outlives the process "
            "that sent it; without a key do not repeat what a dead process may have sent: report "
            "uncertain.",
            "duplicate-effect/repeated-after-restart": "write down that the action is about to "
            "be sent, where a crash and a failover cannot lose it and the next process surely "
            "reads it; after a restart do not repeat the action without a key.",
            "duplicate-effect/two-processes-at-once": "let one process own a session (a lease), "
            "and make the key the same in both.",
            "duplicate-effect/repeated-across-tasks": "recognise that another task already did "
            "this: look it up, or make the key a function of the action, not of the task.",
            "duplicate-effect/key-forgotten": "the service forgot the key: finish within its "
            "retention time, and look the action up before trying again later.",
            "duplicate-effect/key-absent": "this tool takes keys: " + _ONE_KEY,
            "duplicate-effect/one-request-without-key": "the network may deliver one request "
            "twice; this tool takes keys, so send one.",
            "duplicate-effect/twice-in-one-call": "the guest commits twice in one call: give "
            "the action one key from outside and commit once.",
            "missing-effect": "claim only what the tool confirmed, and try again with the same "
            "key until it does, or end the task as failed or uncertain.",
            "missing-effect/claimed-after-compensation": "do not claim what was undone; claim "
            "only what stands when the outcome is reported.",
            "unexpected-effect": "find out who else calls this tool with the agent's account.",
        },
    ),
    "keys.lineage": CheckText(
        title="one action keeps one key",
        breaks="A retry under a new key is a new action for the service: the customer pays twice. "
        "A key that another action had is refused, or takes that action's answer for its own.",
        looks="The key of every request of an action, over tries, restarts and regions, where "
        "the tool takes keys and exactly-once or at-most-once is promised. After a certain "
        "refusal, or after the effect was undone, a new key is fine.",
        means={
            "key-absent": "the tool takes keys and the request carried none.",
            "key-changed": "a second key was used while the first request may have happened.",
            "key-reused": "one key was used for two actions, or for two contents.",
        },
        todo={
            "key-absent": _ONE_KEY,
            "key-changed": _ONE_KEY,
            "key-changed/on-retry": "make the key before the loop of tries, not inside it, and "
            "from nothing that differs from try to try: not the time, not the number of the try, "
            "not a counter that a fresh instance begins anew.",
            "key-changed/after-restart": "store the key before the first try, or derive it from "
            "what outlives the process: session, task, action; no counter of the process, no "
            "chance, no words of the model.",
            "key-changed/after-failover": "leave region and process out of the key: whoever takes "
            "the action over must send the same one.",
            "key-changed/across-tasks": "make the key a function of the action, so that two "
            "tasks that mean the same action send the same key.",
            "key-reused": "put what identifies the action into the key: session, task, action.",
            "key-reused/payload-changed": "store the request beside its key and send the stored "
            "one again; a model asked twice words it differently.",
        },
    ),
    "lineage.complete": CheckText(
        title="everything done was asked for, every intent was followed up",
        breaks="Money moved and no log says who asked for it; or a customer waits for something "
        "that was noted before a crash and then forgotten.",
        looks="Each effect has a request in the record; each reported intent has a try, or its "
        "task says that it was not completed.",
        means={
            "orphan-effect": "an effect has no request in the record.",
            "dangling-intent": "an intent was reported, never tried, and never given up.",
        },
        todo={
            "orphan-effect": "find what acts beside the agent (a second client, a script, a "
            "guest), and send every action through the agent's tool port.",
            "dangling-intent": "after a restart go through the open intents: try each again "
            "with its stored key, or end its task as failed.",
        },
    ),
    "outcome.honest": CheckText(
        title="what the agent says is what happened",
        breaks="People act on a report that is wrong: they refund again, or do not at all.",
        looks="The outcome that counted, its claims and references, against the ledger.",
        means={
            "claimed-not-done": "an outcome claims an action that does not stand.",
            "wrong-ref": "an outcome names a reference that is not the one in the ledger.",
            "done-not-claimed": "an outcome lists what was done and leaves something out.",
            "failed-after-commit": "a task is reported as failed while its action stands.",
            "uncertain-without-cause": "a task is reported as uncertain though every answer came.",
            "contradicting-outcome": "a second report claims what is not in the ledger.",
        },
        todo={
            "claimed-not-done": "claim only what the tool confirmed; after a refusal, or where "
            "no answer came, try again, look it up, or report failed or uncertain.",
            "wrong-ref": "use the reference of the reply, also where the service says that it "
            "knew the key already.",
            "done-not-claimed": "add a claim for every action of the task, also for those done "
            "before a restart.",
            "failed-after-commit": "a lost reply is not a refusal: try again with the same key, "
            "look it up, or report uncertain.",
            "failed-after-commit/although-answered": "undo what was done before reporting "
            "failed, or claim it.",
            "uncertain-without-cause": "every answer came, so report what they say: completed, "
            "or failed. Uncertain is for a lost answer only.",
            "contradicting-outcome": "before reporting, read back what was stored; a process "
            "that lost its session reports nothing.",
        },
    ),
    "lifecycle.legal": CheckText(
        title="sessions move as the table allows",
        breaks="Whoever is on call opens a session and sees a state that is not true: they wait "
        "for one that is over, or restart one that is at work.",
        looks="The moves that each process reports for each session.",
        means={
            "illegal-move": "a session made a move that is not in the table.",
            "unknown-state": "a session was reported in a state that does not exist.",
            "left-quarantine": "a session left quarantine without the operator.",
        },
        todo={
            "illegal-move": "report every step, in the order of the table; only a new process may "
            "report the stored state or begin again at initialized.",
            "unknown-state": "use initialized, active, waiting-for-tool, completed, failed and "
            "quarantined.",
            "left-quarantine": "store the quarantine before reporting it, with no expiry, and "
            "read it back before any other move; let nothing but the operator's release end it.",
        },
    ),
    "lifecycle.quarantine": CheckText(
        title="a quarantined session is left alone",
        breaks="A session whose data may be damaged works on: wrong addresses are shipped to, "
        "and the damage is written to more places before anybody has looked.",
        looks="New requests to tools, Wasm modules and the model for a session after it was "
        "reported as quarantined.",
        means={"work-in-quarantine": "something was asked for a session in quarantine."},
        todo={
            "work-in-quarantine": "read the stored state of the session before every request, "
            "after a restart too, and store a quarantine with no expiry.",
            "work-in-quarantine/retry": "let the loop of tries end when the session goes into "
            "quarantine, and read the stored state before each try, after a restart too.",
        },
    ),
    "memory.atomic": CheckText(
        title="halves of two versions are never used together",
        breaks="A parcel goes to the new street in the old city.",
        looks="The revision marks in prompts, arguments, answers and requests.",
        means={"torn-group-used": "parts of two revisions were used together."},
        todo={
            "torn-group-used": "write what belongs together as one item, or write a version "
            "number last and check it when reading; do not use what does not match.",
        },
    ),
    "memory.lost-update": CheckText(
        title="nobody overwrites what they have not read",
        breaks="Two writers read the same cart; the slower one writes its copy back, and what the "
        "faster one had put in is gone.",
        looks="Every memory commit over an existing version of another writer.",
        means={"lost-update": "a version was overwritten by a writer that had not read it."},
        todo={
            "lost-update": "pass the version that was read as `expect`, and on a conflict read "
            "again and decide again.",
        },
    ),
    "memory.linearizable": CheckText(
        title="a store answers as if calls came one after the other",
        breaks="An order is confirmed, and the next screen shows the state before it; or two "
        "agents both believe that they were first.",
        looks="For a store whose own order is not on record: every confirmed write and every "
        "read of the primary, item by item. There must be one order that explains all answers. "
        "A write without an answer may count at any later time, or never.",
        means={"not-linearizable": "no order of the calls on an item explains their answers."},
        todo={
            "not-linearizable": "the store does not keep its promise, or something stands before "
            "it: look at how it replicates, and at caches on the way.",
            "not-linearizable/stale-read": "read what decides from the primary itself: no cache, "
            "no replica, no session that may be behind.",
            "not-linearizable/lost-write": "the store confirmed a write that others cannot see: "
            "ask for a durable write, and look for a late request that overwrote it.",
            "not-linearizable/read-of-nothing": "look for somebody else who writes to this store, "
            "for what an earlier run left there, and for two items under one id.",
            "not-linearizable/order": "look at how the store numbers and orders its writes.",
            "not-linearizable/compare-and-set": "let the store compare and write in one step; to "
            "read first and write afterwards is not enough.",
        },
    ),
    "memory.policy": CheckText(
        title="what was to stay as it was written stays so",
        breaks="A decision was made under version 3 of the rules, and version 3 is not what it "
        "was.",
        looks="Every write and erasure of items that the contract calls immutable, against what "
        "it replaced. A write that a failover discarded may be made again.",
        means={
            "rewritten": "an immutable item was written again with another value.",
            "erased": "an immutable item was erased.",
        },
        todo={
            "rewritten": "write the new value under a new version, with `expect = None`, and let "
            "a pointer of its own say which version is in force.",
            "erased": "leave old versions where they are; end their use by moving the pointer.",
        },
    ),
    "memory.retention": CheckText(
        title="nothing is kept or used longer than was promised",
        breaks="An address that was to be forgotten a year ago is still there, or is still used.",
        looks="The expiry of every write to items with a retention; and whether something that "
        "they held is sent on after the last item that held it has expired. What came with the "
        "task's own request may be used.",
        means={
            "kept-too-long": "an item was written without an expiry, or with one too far ahead.",
            "used-after-expiry": "what an expired item held was sent on.",
        },
        todo={
            "kept-too-long": "pass `expires_ms` with every write of this class: now plus its "
            "retention.",
            "used-after-expiry": "read the item when its value is needed, and do without it where "
            "it is gone; a copy in a variable, a cache or a prompt does not expire by itself.",
        },
    ),
    "memory.access": CheckText(
        title="sensitive attributes go only where they may",
        breaks="An account number stands in a prompt or a log, where nobody thinks of looking.",
        looks="The token beside each sensitive value in everything that the agent sends or "
        "writes, against the places that the contract allows for it. Encoded or encrypted values "
        "are not seen.",
        means={"attribute-leaked": "an attribute was sent to a place that it may not go to."},
        todo={
            "attribute-leaked": "add the attribute at the last moment, in the one call that "
            "needs it; pass a name for it everywhere else.",
            "attribute-leaked/model": "let the model name the attribute, and put its value in "
            "after the model has answered.",
            "attribute-leaked/log": "log the name of the attribute, not its value.",
            "attribute-leaked/memory": "store the attribute under its own prefix only, and refer "
            "to it by that id.",
        },
    ),
    "isolation.sessions": CheckText(
        title="no customer's data turns up with another",
        breaks="One customer reads another customer's name, address or order.",
        looks="The token of each session in everything that was sent for another session. "
        "Encoded or encrypted values are not seen.",
        means={"canary-crossed": "the token of one session was sent for another."},
        todo={
            "canary-crossed": "keep prompts, memory ids and caches per session, and pass the "
            "session explicitly; where nothing is known of a customer, use nothing.",
            "canary-crossed/tools": "build each request from its own session's data only; and "
            "where a Wasm instance made the request, throw an instance away after anything goes "
            "wrong in it: it may hold the last customer's data.",
            "canary-crossed/wasm": "after a trap throw the instance away; it may hold the last "
            "customer's data.",
        },
    ),
    "isolation.instance": CheckText(
        title="a damaged Wasm instance is not used again",
        breaks="An instance that trapped answers the next customer with the last one's data.",
        looks="Calls of an instance after it was poisoned or retired.",
        means={
            "poisoned-instance-called": "an instance was called after it was poisoned.",
            "retired-instance-answered": "an instance answered after it was retired.",
        },
        todo={
            "poisoned-instance-called": "after every call, also one that answered, look at "
            "`poisoned`; if it says anything, retire the instance and make another. That an "
            "instance still answers proves nothing.",
            "retired-instance-answered": "drop every reference to an instance on retiring it, in "
            "pools and caches too.",
        },
    ),
    "limits.attempts": CheckText(
        title="no action is tried too often",
        breaks="Retries without an end flood a service that is already in trouble.",
        looks="The tries of each action by each task, over all restarts; look-ups do not count.",
        means={"too-many-attempts": "an action was tried more often than was promised."},
        todo={
            "too-many-attempts": "count the tries in stored state, wait longer between them, and "
            "end the task as failed or uncertain at the limit.",
        },
    ),
    "limits.tasks": CheckText(
        title="every task ends, and few end badly",
        breaks="A request is never answered, or too many are given up.",
        looks="The outcome of every task that was handed out.",
        means={
            "no-outcome": "a task was handed out and never ended.",
            "too-many-failed": "more tasks failed than was promised.",
            "too-many-uncertain": "more tasks ended as uncertain than was promised.",
        },
        todo={
            "no-outcome": "put a deadline on every wait, report an outcome whatever happens, and "
            "take up what was deferred as soon as there is room.",
            "too-many-failed": "mend what refused the first of them. Not now, or no answer: try "
            "again later with the same key. A conflict: two requests share a key, so give each "
            "action its own. Too many at once: defer, do not fail.",
            "too-many-uncertain": "settle an unknown outcome: ask again with the same key, or "
            "look the action up.",
        },
    ),
    "limits.recovery": CheckText(
        title="recovery is quick enough",
        breaks="After a fault, customers wait longer than was agreed.",
        looks="The time from each fault to the last outcome of the tasks that it struck.",
        means={"too-slow": "a struck task had its outcome later than was promised."},
        todo={"too-slow": "shorten deadlines and waits, and resume as soon as the process is up."},
    ),
    "limits.amplification": CheckText(
        title="faults do not multiply requests",
        breaks="A small fault turns into many times the load and becomes an outage.",
        looks="Requests to tools and Wasm modules, compared with the fault-free execution.",
        means={"amplified": "there were more requests than was promised."},
        todo={
            "amplified": "retry in one layer only (a loop around a client that retries by itself "
            "multiplies), wait longer between tries, and bound them over all deliveries."
        },
    ),
    "egress.policy": CheckText(
        title="requests to the outside keep to the allowed hosts",
        breaks="A page tells the agent to send what it knows to somebody else, and it does.",
        looks="Host, method and size of every request to the outside, answered or not, also "
        "after a redirect. A host must be spelt as it is listed.",
        means={
            "host-not-allowed": "a request went to a host that is not listed.",
            "method-not-allowed": "a request used a method that is not listed.",
            "body-too-large": "a request carried more than was allowed.",
        },
        todo={
            "host-not-allowed": "compare the host of the parsed URL with the list, exactly, "
            "before the request is sent.",
            "host-not-allowed/after-redirect": "ask the rules before every hop, not only before "
            "the first.",
            "method-not-allowed": "allow reading only, unless the contract says more.",
            "body-too-large": "measure what is to be sent, and refuse what is too large.",
        },
    ),
    "budgets.spend": CheckText(
        title="spending stays within the budget",
        breaks="Each credit was within the limit, and together they were not.",
        looks="What the effects of a tool come to in its ledger, in all or in any window of "
        "time, over everybody or per tenant, session or task. What was undone is given back.",
        means={"over-budget": "the effects of a tool came to more than was promised."},
        todo={
            "over-budget": "count what was spent in stored state, across restarts, a request "
            "without a certain answer too; take the room in one step before sending, and defer or "
            "decline what does not fit.",
            "over-budget/at-once": "reserve before sending, in one step (compare-and-set), and "
            "give back what certainly did not happen; asking first and spending later lets two "
            "tasks through at once.",
        },
    ),
    "capacity.defers": CheckText(
        title="what is too much is deferred, and done later",
        breaks="A burst fills the queue, and from then on everything is late; or it is put off "
        "and never done.",
        looks="How many tasks each process has in hand, and for how long without a break; and "
        "what became of tasks that were deferred.",
        means={
            "too-much-in-hand": "a process held on to more tasks than was promised.",
            "deferred-forever": "a task was put off each time and never done.",
        },
        todo={
            "too-much-in-hand": "count the tasks in hand and answer deferred at once beyond the "
            "limit; a queue inside the agent is in hand, too.",
            "deferred-forever": "let what was deferred before go first, or take it as soon as "
            "there is room.",
        },
    ),
    "recovery.converges": CheckText(
        title="after the faults everything is as it would have been without them",
        breaks="After an outage some refunds are missing and some were made twice, and nobody "
        "knows which, because every service is up again.",
        looks="What stands and how tasks ended, compared with the fault-free execution. Tasks "
        "that ended as uncertain, failed or quarantined within the limits may differ.",
        means={"diverged": "the end differs from the fault-free execution, undeclared."},
        todo={
            "diverged": "finish, or openly give up, every task that was begun.",
            "diverged/completed became failed": "do not fail what can still be done: after a "
            "lost answer or a refusal for now, try again with the same key; or allow so many "
            "failed tasks in the limits.",
            "diverged/completed became uncertain": "settle an unknown outcome by the same key or "
            "a look-up; or allow so many uncertain tasks in the limits.",
            "diverged/completed became no outcome": "put a deadline on every wait, and report an "
            "outcome whatever happens.",
            "diverged/missing": "what was not confirmed must be tried again, after a restart too, "
            "or its task must say that it was not done.",
            "diverged/extra": "after a lost answer or a restart repeat an action only under its "
            "old key; without a key do not repeat it.",
        },
    ),
    "recovery.deterministic": CheckText(
        title="the same faults lead to the same end",
        breaks="The same outage is survived on one day and not on the next; whoever is on call "
        "cannot make the failure happen again, so it stays.",
        looks="Keys, standing effects and outcomes of each action over repeated executions.",
        means={"recovery-differs": "two executions of the same choices ended differently."},
        todo={
            "recovery-differs": "take time and random numbers from the world, sort what comes "
            "from sets, and derive keys.",
        },
    ),
    "regions.fenced": CheckText(
        title="who lost a session no longer writes for it",
        breaks="A process that was given up comes back and overwrites what its successor did "
        "since: an order is back at an older step, and is shipped again.",
        looks="The fence of every memory commit, against the leases that were granted.",
        means={
            "stale-fence-accepted": "a store took an old fence after a newer one.",
            "unfenced-write": "a process that lost the session wrote without a fence.",
        },
        todo={
            "stale-fence-accepted": "let the store refuse a fence older than the newest it saw.",
            "unfenced-write": "pass the fence of this session's own lease with every memory write; "
            "that of another lease protects nothing.",
        },
    ),
    "regions.loss": CheckText(
        title="a failover loses no more than was agreed",
        breaks="What a customer was told is stored is gone after a failover.",
        looks="The acknowledged writes that each promotion discarded: how durable, how old.",
        means={
            "lost-quorum-write": "a write that was to survive a failover was lost.",
            "lost-beyond-limit": "a lost write was older than was agreed.",
        },
        todo={
            "lost-quorum-write": "the store acknowledged before the other region had it: fix "
            "the store.",
            "lost-beyond-limit": "replicate sooner, or write what matters with durability quorum.",
        },
    ),
}


def advice(check: str, code: str, anomaly: str = "", /) -> str:
    """What to change: the line for the anomaly where there is one, else that for the code."""
    if check.startswith("invariant."):
        return "this is a rule of your own contract: mend the agent, or the rule."
    text = TEXTS.get(check)
    if text is None:
        return ""
    return text.todo.get(f"{code}/{anomaly}") or text.todo.get(code, "")
