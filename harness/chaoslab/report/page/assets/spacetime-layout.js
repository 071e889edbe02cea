/*
 * Where everything stands in a space-time drawing: which entries are shown, which lanes they need,
 * how far apart two moments are, and in which row a label has room.
 *
 * Time is compressed: 40 ms of action and 600 s of silence must both be readable. Two moments are
 * apart by a function that grows with the logarithm of the time between them and is bounded, so
 * order and simultaneity are kept and the true times are written at the ticks.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  const STORY_MOST = 160;
  const KINDS = ["lab", "process", "wasm", "tool", "memory", "leases", "model", "network"];
  const SIZES = {
    story: { pad: 30, same: 30, base: 30, step: 21, most: 150, rows: 7 },
    everything: { pad: 18, same: 7, base: 4, step: 7, most: 44, rows: 3 },
  };

  /** The entries that tell the story: what was named, the calls around it, and who died. */
  lab.storyEntries = (h, { focus = [], witness = [] }) => {
    const inside = (op) => Number.isInteger(op) && op >= 0 && op < h.n;
    const named = [...new Set([...focus, ...witness])].filter(inside).sort((a, b) => a - b);
    const found = new Set(named.slice(0, STORY_MOST));
    for (const op of [...found]) {
      const invoke = h.letters[op] === "i" ? op : h.call(op);
      if (invoke >= 0) addCall(h, invoke, found);
    }
    if (!found.size) return [];
    addOutcomes(h, found);
    addSurroundings(h, found);
    return [...found].sort((a, b) => a - b);
  };

  function addCall(h, invoke, found) {
    found.add(invoke);
    if (h.completion(invoke) >= 0) found.add(h.completion(invoke));
    for (const op of [...h.commits(invoke), ...h.strikes(invoke)]) found.add(op);
  }

  /** How the tasks ended that the named tool calls are about, and each time they were handed out
   * where that was more than once. */
  function addOutcomes(h, found) {
    const tasks = new Set();
    for (const op of found) {
      if (h.letters[op] === "i" && h.f(op).startsWith("tools.")) tasks.add(h._task[op]);
    }
    if (tasks.size > 3) return;
    const first = Math.min(...found);
    for (const task of tasks) {
      for (const op of (h.outcomes.get(task) || []).slice(-3)) if (op > first) found.add(op);
      const handed = h.submits.get(task) || [];
      if (handed.length > 1) for (const op of handed.slice(0, 3)) found.add(op);
    }
  }

  /** Deaths and rebirths of the processes in the story, regions, and the heal, while it lasts. */
  function addSurroundings(h, found) {
    const first = Math.min(...found);
    const last = Math.max(...found);
    const lanes = new Set([...found].map((op) => h.processLane(op)));
    for (const op of h.marks) {
      if (op < first || op > last) continue;
      const f = h.f(op);
      const ours = /^process\.(start|kill|pause|resume)$/.test(f) && lanes.has(h.lane(op));
      if (ours || f.startsWith("region.") || f === "nemesis.heal") found.add(op);
    }
  }

  /**
   * Places entries: x by time, lanes from top to bottom, labels in rows without overlap.
   * @param {object} options entries, mode ("story" or "everything"), zoom, room (px), labelled(op)
   */
  lab.layout = (h, options) => {
    const size = SIZES[options.mode];
    const plan = { h, size, mode: options.mode, entries: options.entries, left: 0 };
    plan.lanes = lanesOf(h, options.entries);
    plan.left = laneLabelWidth(plan);
    slots(plan, options.zoom, options.room);
    labels(plan, options.labelled);
    const over = plan.width - options.room;
    if (over > 0 && options.mode === "story" && options.zoom === 1) {
      // The last labels stick out: once more, a little closer, so that all of it is in sight.
      for (const lane of plan.lanes) lane.labels = [];
      slots(plan, 1, options.room - over);
      labels(plan, options.labelled);
    }
    rowsToHeights(plan);
    return plan;
  };

  /** The lane on which the mark of an entry stands. */
  function markLane(h, op) {
    const letter = h.letters[op];
    if (letter !== "e") return h.lane(op);
    const f = h.f(op);
    if (f.startsWith("tools.") && h.call(op) >= 0) return h.peer(h.call(op));
    if (/^(task|process|report)\./.test(f)) {
      const lane = h.processLane(op);
      return lane >= 0 ? lane : h.lane(op);
    }
    return h.lane(op);
  }

  function lanesOf(h, entries) {
    const used = new Set();
    for (const op of entries) {
      if (onArrow(h, op)) continue;
      used.add(markLane(h, op));
      const invoke = h.letters[op] === "i" ? op : h.call(op);
      if (invoke >= 0) used.add(h.lane(invoke)).add(h.peer(invoke));
    }
    used.delete(-1);
    const rank = (lane) => KINDS.indexOf(h.lanes[lane].kind);
    const name = (lane) => `${h.lanes[lane].region}\u0000${h.lanes[lane].label}`;
    return [...used].sort((a, b) => rank(a) - rank(b) || compare(name(a), name(b)))
      .map((lane) => ({ lane, ...h.lanes[lane], labels: [] }));
  }

  function compare(a, b) {
    return a < b ? -1 : a > b ? 1 : 0;
  }

  /** A strike on a call is drawn on the call's arrow, it needs no place of its own. */
  function onArrow(h, op) {
    return h.f(op) === "nemesis.strike" && h.call(op) >= 0;
  }

  function laneLabelWidth(plan) {
    const widest = Math.max(40, ...plan.lanes.map((l) =>
      Math.max(lab.textWidth(lab.short(l.label, 18), true, 13), lab.textWidth(lab.laneNote(l), false, 11))));
    return Math.ceil(widest) + 20;
  }

  /** What a lane is, under its name. */
  lab.laneNote = (lane) => {
    if (lane.kind === "process") return lane.region ? `agent, ${lab.short(lane.region, 12)}` : "agent";
    return { tool: "tool", wasm: "Wasm", lab: "faults", memory: "store" }[lane.kind] || "";
  };

  function gap(size, us) {
    return us <= 0 ? 0 : Math.min(size.most, size.base + size.step * Math.log10(1 + us / 1000));
  }

  function slots(plan, zoom, room) {
    const { h, size } = plan;
    const at = new Map();
    const steps = [];
    const lastOn = new Map();
    let slot = -1;
    let now = -1;
    for (const op of plan.entries) {
      if (onArrow(h, op)) continue;
      const us = h.timeUs(op);
      const lane = markLane(h, op);
      const far = slot < 0 ? 0 : gap(size, us - now);
      if (slot < 0 || far > 0) steps[++slot] = { us, far, quiet: slot ? us - now : 0 };
      else if (lastOn.get(lane) === slot) steps[++slot] = { us, far: size.same, quiet: 0 };
      lastOn.set(lane, slot);
      at.set(op, slot);
      now = us;
    }
    const natural = steps.reduce((sum, step) => sum + step.far, 0);
    const wide = room - plan.left - size.pad - (plan.mode === "story" ? 150 : 30);
    const least = room < 640 ? 1 : 0.55; // on a narrow screen it scrolls anyway
    const fit = plan.mode === "story" && natural > 0
      ? Math.min(2, Math.max(least, wide / natural)) : 1;
    let x = plan.left + size.pad;
    for (const step of steps) step.x = x += step.far * fit * zoom;
    plan.steps = steps;
    plan.width = x + size.pad;
    plan.x = (op) => (at.has(op) ? steps[at.get(op)].x : outside(plan, op));
    plan.has = (op) => at.has(op) || (onArrow(h, op) && at.has(h.call(op)));
    plan.xAt = (us) => between(steps, us);
    plan.markLane = (op) => markLane(h, op);
  }

  /** An entry before or after the window stands at its edge. */
  function outside(plan, op) {
    return op < plan.entries[0] ? plan.left + 4 : plan.width - 4;
  }

  function between(steps, us) {
    if (!steps.length) return 0;
    if (us <= steps[0].us) return steps[0].x;
    for (let k = 1; k < steps.length; k++) {
      const before = steps[k - 1];
      const after = steps[k];
      if (us <= after.us && after.us > before.us) {
        return before.x + (after.x - before.x) * ((us - before.us) / (after.us - before.us));
      }
    }
    return steps[steps.length - 1].x;
  }

  /**
   * Labels are placed from the right to the left: one that would run into labels on its right goes
   * a row further out, so no leader line crosses a text.
   */
  function labels(plan, labelled) {
    const { h, size } = plan;
    const byLane = new Map(plan.lanes.map((lane) => [lane.lane, lane]));
    const entries = plan.entries.filter((op) => !onArrow(h, op) && labelled(op)).reverse();
    let right = plan.width;
    for (const op of entries) {
      const lane = byLane.get(plan.markLane(op));
      if (!lane) continue;
      const words = lab.words(h, op);
      const x = plan.x(op);
      const wide = Math.max(
        lab.textWidth(`#${op} ${words.title}`, true), lab.textWidth(words.detail, false)) + 14;
      let row = 0;
      for (const other of lane.labels) {
        if (other.x < x + wide && x < other.x + other.wide) row = Math.max(row, other.row + 1);
      }
      if (row >= size.rows) continue;
      lane.labels.push({ op, x, wide, row, words });
      right = Math.max(right, x + wide + 6);
    }
    plan.width = right;
  }

  const ROW = 31;

  function rowsToHeights(plan) {
    let y = 40;
    let group = "";
    plan.y = new Map();
    for (const lane of plan.lanes) {
      const rows = lane.labels.reduce((most, label) => Math.max(most, label.row + 1), 0);
      const above = lane.kind === "process" || lane.kind === "lab";
      const next = above ? "agents" : "ports";
      if (group === "agents" && next === "ports") y += plan.mode === "story" ? 86 : 60;
      group = next;
      lane.above = above;
      lane.top = y;
      y += above ? rows * ROW + 30 : 20;
      lane.y = y;
      plan.y.set(lane.lane, y);
      y += above ? 22 : rows * ROW + 26;
      lane.bottom = y;
      for (const label of lane.labels) {
        label.y = above ? lane.y - 22 - label.row * ROW - 14 : lane.y + 26 + label.row * ROW;
      }
    }
    plan.height = y + 8;
  }
})();
