/*
 * The words of the drawings: an entry as two short lines beside its mark, and as one whole sentence
 * for the details line and the screen reader. The reader did not write the code, so a strike says
 * what was done, an unknown outcome says that it is unknown, and a second key is called another one.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  // What a strike does; two forms where it matters on which way the message was.
  const STRIKES = {
    silence: ["request lost", "answer lost"],
    reset: ["connection broken", "connection broken"],
    "error-reply": ["error instead of an answer", "error instead of an answer"],
    delay: ["request delayed", "answer delayed"],
    duplicate: ["request sent twice", "request sent twice"],
    reorder: ["overtaken by a later one", "overtaken by a later one"],
    hold: ["request held back", "answer held back"],
    crash: ["process killed", "process killed"],
    pause: ["process frozen", "process frozen"],
    partition: ["region cut off", "region cut off"],
    trap: ["Wasm guest traps", "Wasm guest traps"],
    malformed: ["arguments damaged", "arguments damaged"],
    "unknown-tool": ["a tool that is not there", "a tool that is not there"],
    truncated: ["answer cut short", "answer cut short"],
    refusal: ["the model refuses", "the model refuses"],
    "rate-limit": ["told: not now", "told: not now"],
  };
  const PHASES = {
    "before-send": "before it was sent",
    "before-commit": "before the commit",
    "after-commit": "after the commit",
    "after-reply": "after the answer arrived",
    "mid-write": "in the middle of the group",
  };
  const UNKNOWN = {
    deadline: "gives up waiting",
    reset: "connection breaks",
    "server-error": "error of the service",
    killed: "dead before the answer",
    trap: "the guest traps",
    partial: "only a part is written",
  };
  const OUTCOMES = {
    completed: "ok", failed: "bad", uncertain: "info", deferred: "warn", rejected: "warn",
  };
  const MEMORY = {
    "memory.read": "reads", "memory.write": "writes", "memory.write_many": "writes a group",
    "memory.scan": "scans", "memory.erase": "erases", "leases.acquire": "asks for the lease of",
  };

  /** A long text by its beginning and its end, so that two keys stay apart. */
  function short(text, most = 22) {
    if (text.length <= most) return text;
    const tail = Math.floor((most - 1) / 3);
    return text.slice(0, most - 1 - tail) + "…" + text.slice(text.length - tail);
  }

  function ordinal(n) {
    const teen = n % 100 > 10 && n % 100 < 14;
    return n + (teen ? "th" : { 1: "st", 2: "nd", 3: "rd" }[n % 10] || "th");
  }

  /** A time in seconds, to the millisecond. */
  function seconds(us) {
    return (Math.floor(us / 1000) / 1000).toFixed(3) + " s";
  }

  /** A length of time as people say it. */
  function lasting(us) {
    if (us >= 9950000) return Math.round(us / 1e6) + " s";
    if (us >= 100000) return (us / 1e6).toFixed(1) + " s";
    return us >= 1000 ? Math.round(us / 1000) + " ms" : us + " µs";
  }

  /** The tool, Wasm module or store of a call, as its lane is called. */
  function subject(f) {
    const dot = f.indexOf(".");
    return f.startsWith("tools.") || f.startsWith("wasm.") ? f.slice(dot + 1) : f;
  }

  function asked(h, i) {
    const f = h.f(i);
    const marker = h.marker(i);
    if (f.startsWith("tools.") && f.endsWith(".lookup")) {
      return { title: `looks up ${subject(f).slice(0, -7)}`, detail: short(marker) };
    }
    if (f === "model.complete") return { title: "asks the model", detail: h.task(i) };
    if (f === "wasm.instantiate") return { title: "makes an instance", detail: "" };
    if (MEMORY[f]) return { title: `${MEMORY[f]} ${short(marker, 24)}`, detail: "" };
    if (f === "network.request") return { title: "sends a request", detail: short(h.label(i)) };
    const key = h.key(i) ? `key ${short(h.key(i), 14)}` : "no key";
    const again = h.tryBefore(i) >= 0;
    const changed = h.keyChanged(i);
    return {
      title: `asks ${again ? "AGAIN for" : "for"} ${short(subject(f), 18)} ${short(marker, 18)}`,
      detail: (h.attempt(i) ? `${ordinal(h.attempt(i))} try, ` : "") +
        (changed ? `ANOTHER ${key}` : again && h.key(i) ? `the same ${key}` : key),
      tone: changed ? "warn" : "",
    };
  }

  function committed(h, i) {
    const f = h.f(i);
    const what = short(h.label(i) || h.marker(i), 36);
    if (f === "leases.acquire") {
      const owner = h.processLane(i);
      const whose = owner >= 0 ? `to ${h.lanes[owner].label}` : "";
      return { title: "lease granted", detail: `${short(h.marker(i) || what, 16)} ${whose}` };
    }
    if (!f.startsWith("tools.")) return { title: "stored", detail: what };
    const before = h.repeats(i);
    if (!before) return { title: `${short(subject(f), 18)} done: committed`, detail: what };
    return {
      title: `done AGAIN: the ledger has ${before + 1} rows`,
      detail: what,
      tone: "bad",
    };
  }

  function strikeWords(h, i) {
    const [kind, phase] = h.label(i).split(" ");
    const said = STRIKES[kind] || [kind || "strike", kind || "strike"];
    return {
      title: said[/^(after|mid)/.test(phase || "") ? 1 : 0],
      detail: [kind, PHASES[phase] || phase].filter(Boolean).join(", "),
      tone: "strike",
      kind,
      phase: phase || "",
    };
  }

  const EVENTS = {
    "nemesis.strike": strikeWords,
    "nemesis.heal": () => ({ title: "heal: no faults from here on", detail: "", tone: "ok" }),
    "nemesis.release": () => ({ title: "the lab lets it go on", detail: "" }),
    "task.submit": (h, i) => ({ title: `is handed task ${short(h.task(i), 16)}`, detail: short(h.label(i)) }),
    "task.outcome": outcome,
    "report.outcome": outcome,
    "task.raised": (h, i) => ({ title: "its handler raises", detail: h.label(i), tone: "bad" }),
    "process.start": (h, i) => ({ title: `${processName(h, i)} starts`, detail: "" }),
    "process.ready": (h, i) => ({ title: "ready", detail: "" }),
    "process.kill": (h, i) => ({ title: `${processName(h, i)} is dead`, detail: "", tone: "bad" }),
    "process.pause": (h, i) => ({ title: `${processName(h, i)} freezes`, detail: "", tone: "warn" }),
    "process.resume": (h, i) => ({ title: `${processName(h, i)} goes on`, detail: "unaware of the time that passed" }),
    "process.stop": (h, i) => ({ title: `${processName(h, i)} stops`, detail: "" }),
    "process.recovers": () => ({ title: "finishes some tasks itself", detail: "" }),
    "report.intent": (h, i) => ({ title: "notes what it will do", detail: short(h.marker(i)) }),
    "report.transition": (h, i) => ({ title: `session ${short(h.session(i), 12)}`, detail: `now ${short(h.label(i))}` }),
    "report.log": () => ({ title: "logs", detail: "" }),
    "region.down": (h, i) => ({ title: `region ${regionOf(h, i)} goes down`, detail: "", tone: "bad" }),
    "region.partition": (h, i) => ({ title: `region ${regionOf(h, i)} is cut off`, detail: "", tone: "bad" }),
    "region.join": (h, i) => ({ title: `region ${regionOf(h, i)} is back`, detail: lost(h, i), tone: "ok" }),
    "region.promote": (h, i) => ({ title: `region ${regionOf(h, i)} takes over`, detail: lost(h, i), tone: "ok" }),
    "session.release": (h, i) => ({ title: `operator releases ${short(h.session(i), 12)}`, detail: "" }),
    "wasm.poisoned": () => ({ title: "instance poisoned", detail: "not to be used again", tone: "bad" }),
    "wasm.retired": () => ({ title: "instance retired", detail: "" }),
    "lab.deadlock": () => ({ title: "nothing can ever happen again", detail: "", tone: "bad" }),
    "lab.budget": () => ({ title: "stopped at the lab's budget", detail: "", tone: "warn" }),
    "lab.end": () => ({ title: "end", detail: "" }),
    "final.effects": () => ({ title: "the ledger at the end", detail: "" }),
    "final.memory": () => ({ title: "the memory at the end", detail: "" }),
  };

  function outcome(h, i) {
    const status = h.label(i) || "outcome";
    return { title: `reports: ${short(status, 16)}`, detail: short(h.task(i)), tone: OUTCOMES[status] || "" };
  }

  function processName(h, i) {
    const lane = h.processLane(i);
    return lane >= 0 ? short(h.lanes[lane].label, 16) : "process";
  }

  /** The region that an event is about: its label names it, or the event's own process is there. */
  function regionOf(h, i) {
    const said = h.label(i);
    const known = [...new Set(h.lanes.map((lane) => lane.region).filter(Boolean))];
    const found = known.find((name) => said === name) ||
      known.find((name) => said.split(/[\s,:;]+/).includes(name));
    return found || short(said, 16);
  }

  /** What a failover threw away, where the label says it after the region's name. */
  function lost(h, i) {
    const comma = h.label(i).indexOf(",");
    return comma < 0 ? "" : short(h.label(i).slice(comma + 1).trim(), 30);
  }

  function answered(h, i) {
    const call = h.call(i);
    const f = call >= 0 ? h.f(call) : h.f(i);
    if (f === "model.complete") return { title: "the model answers", detail: "" };
    if (h.letters[i] === "f") {
      return { title: "refused", detail: `${h.label(i) || "did nothing"}: it did nothing`, tone: "bad" };
    }
    if (h.letters[i] === "n") {
      return {
        title: UNKNOWN[h.label(i)] || "no certain answer",
        detail: "outcome unknown: done or not?",
        tone: "info",
      };
    }
    return { title: "answer arrives", detail: f.startsWith("tools.") ? "" : short(h.marker(i)) };
  }

  /**
   * Two short lines for the mark of an entry.
   * @returns {{title: string, detail: string, tone?: string}}
   */
  lab.words = (h, i) => {
    const letter = h.letters[i];
    if (letter === "i") return asked(h, i);
    if (letter === "c") return committed(h, i);
    if (letter !== "e") return answered(h, i);
    const f = h.f(i);
    if (EVENTS[f]) return EVENTS[f](h, i);
    if (f.startsWith("tools.")) {
      return { title: "repeat recognised", detail: "nothing done twice", tone: "ok" };
    }
    return { title: short(f, 24), detail: short(h.label(i)) };
  };

  /**
   * One entry as a whole sentence, with its number and time.
   * @returns {string}
   */
  lab.sentence = (h, i) => {
    const { title, detail } = lab.words(h, i);
    const process = h.processLane(i);
    const call = h.call(i);
    const lane = h.lanes[h.lane(i)];
    const who = h.f(i) === "nemesis.strike" ? "the lab: "
      : /^(process|region|nemesis|lab|final)\./.test(h.f(i)) ? ""
      : lane && lane.kind === "tool" ? "the service: "
      : lane && lane.kind !== "process" && lane.kind !== "lab" ? `${lane.label}: `
      : process >= 0 ? `${h.lanes[process].label} ` : "";
    const about = call >= 0 && h.letters[i] !== "c" ? ` (${subject(h.f(call))} ${short(h.marker(call))}, asked in #${call})` : "";
    return `#${i}, ${seconds(h.timeUs(i))}: ${who}${title}${detail ? `, ${detail}` : ""}${about}`;
  };

  Object.assign(lab, { short, seconds, lasting, subject, regionOf, strikeWords });
})();
