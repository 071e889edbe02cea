/*
 * What a space-time drawing consists of: lanes and lives, calls as arrows, commits as dots, strikes
 * as bolts on the arrow at the place of their phase. Whatever means something is said by shape and
 * word as well as by colour.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  const svg = (...args) => lab.svg(...args);

  /** Draws a plan (lab.layout) into an SVG root; returns the marks by entry. */
  lab.drawPlan = (root, plan, { witness }) => {
    const d = { plan, h: plan.h, marks: new Map(), taken: [], waiting: [], witness, story: plan.mode === "story" };
    d.under = root.appendChild(svg("g", { "aria-hidden": "true" }));
    d.arrows = root.appendChild(svg("g", { "aria-hidden": "true" }));
    d.texts = root.appendChild(svg("g", { "aria-hidden": "true" }));
    d.over = root.appendChild(svg("g"));
    axis(d);
    regions(d);
    for (const lane of plan.lanes) life(d, lane);
    for (const lane of plan.lanes) for (const label of lane.labels) laneLabelText(d, lane, label);
    const calls = new Set();
    for (const op of plan.entries) {
      const invoke = d.h.letters[op] === "i" ? op : d.h.call(op);
      if (invoke >= 0) calls.add(invoke);
    }
    for (const invoke of calls) call(d, invoke);
    // A text may not lie over another bolt, so it waits until all of them are there.
    for (const [x, y, said] of d.waiting) beside(d, x, y, said);
    for (const op of plan.entries) if (!d.marks.has(op)) mark(d, op);
    for (const op of plan.entries) if (d.marks.has(op)) d.over.appendChild(d.marks.get(op));
    return d.marks;
  };

  function axis(d) {
    const { plan } = d;
    let free = plan.left;
    let said = 0;
    let last = "";
    for (const step of plan.steps) {
      const text = lab.seconds(step.us);
      const wide = lab.textWidth(text, false, 11);
      if (step.quiet >= 1e6) breakMark(d, step);
      if (step.x - wide / 2 < free || text === last || ++said > 90) continue;
      last = text;
      free = step.x + wide / 2 + 10;
      d.under.append(
        svg("path", { class: "tick", d: lab.line(step.x, 24, step.x, plan.height - 6) }),
        svg("text", { class: "tick-text", x: step.x, y: 17, "text-anchor": "middle" }, text));
    }
  }

  /** Where long quiet time was cut: a gap in the paper, and how long it was. */
  function breakMark(d, step) {
    const { plan } = d;
    const before = plan.steps[plan.steps.indexOf(step) - 1];
    const x = (before.x + step.x) / 2;
    const foot = plan.height - 6;
    d.under.append(
      svg("path", { class: "break", d: lab.line(x - 2.5, 40, x - 2.5, foot) + lab.line(x + 2.5, 40, x + 2.5, foot) }));
    if (d.story || step.quiet >= 5e6) {
      const text = `${lab.lasting(step.quiet)} pass`;
      d.texts.append(svg("text", { class: "break-text", x, y: 35, "text-anchor": "middle" }, text));
    }
  }

  /** A region that is away: a hatched band over its lanes until it is back. */
  function regions(d) {
    const { plan, h } = d;
    const end = plan.steps.length ? plan.steps[plan.steps.length - 1].us : 0;
    const open = new Map();
    const bands = [];
    for (const op of h.marks) {
      const f = h.f(op);
      if (!f.startsWith("region.") || f === "region.promote") continue;
      const name = lab.regionOf(h, op);
      if (f === "region.join") {
        if (open.has(name)) bands.push({ ...open.get(name), to: h.timeUs(op) });
        open.delete(name);
      } else if (!open.has(name)) {
        open.set(name, { name, from: h.timeUs(op), word: f === "region.down" ? "down" : "cut off" });
      }
    }
    for (const band of open.values()) bands.push({ ...band, to: Infinity });
    for (const { name, from, to, word } of bands) {
      const lanes = plan.lanes.filter((lane) => lane.kind === "process" && lane.region === name);
      if (!lanes.length || from > end || (plan.steps.length && to < plan.steps[0].us)) continue;
      const x = plan.xAt(from);
      const wide = (to > end ? plan.width : plan.xAt(to)) - x;
      const top = Math.min(...lanes.map((lane) => lane.y)) - 13;
      const high = Math.max(...lanes.map((lane) => lane.y)) + 20 - top;
      d.under.append(
        svg("rect", { class: "region-down", fill: `url(#${plan.hatch})`, x, y: top, width: Math.max(2, wide), height: high, rx: 3 }));
      const said = `region ${name} ${word}`;
      if (wide > lab.textWidth(said, true, 11) + 8) {
        d.texts.append(svg("text", { class: "region-text", x: x + 5, y: top + high - 4 }, said));
      }
    }
  }

  /** The bar of a process: from its start to its death, thin while it is not ready or paused. */
  function life(d, lane) {
    const { plan, h } = d;
    const right = plan.width - 4;
    d.under.append(svg("path", { class: "lane-line", d: lab.line(plan.left, lane.y, right, lane.y) }));
    if (lane.kind !== "process" || !plan.steps.length) return;
    const first = plan.steps[0].us;
    const end = plan.steps[plan.steps.length - 1].us;
    let state = "";
    let from = 0;
    const put = (to) => {
      if (!state || to < first || from > end) return;
      const x1 = from <= first ? plan.left : plan.xAt(from);
      const x2 = to > end ? right : plan.xAt(to);
      d.under.append(svg("path", { class: `life life-${state}`, d: lab.line(x1, lane.y, x2, lane.y) }));
    };
    for (const op of h.marks) {
      if (h.lane(op) !== lane.lane && h.processLane(op) !== lane.lane) continue;
      const next = {
        "process.start": "starting", "process.ready": "up", "process.pause": "paused",
        "process.resume": "up", "process.kill": "", "process.stop": "",
      }[h.f(op)];
      if (next === undefined) continue;
      put(h.timeUs(op));
      state = next;
      from = h.timeUs(op);
    }
    put(Infinity);
  }

  function laneLabelText(d, lane, label) {
    const { op, x, y, words } = label;
    const tone = words.tone ? ` tone-${words.tone}` : "";
    const shown = d.witness.has(op) ? " witness" : "";
    const foot = lane.above ? y + (words.detail ? 17 : 4) : y - 11;
    const edge = lane.above ? lane.y - 8 : lane.y + 10;
    d.texts.append(
      svg("path", { class: "leader", d: lab.line(x, edge, x, foot) }),
      svg("text", { class: `mark-text${tone}${shown}`, x: x - 2, y },
        svg("tspan", { class: "mark-number" }, `#${op}`), ` ${words.title}`),
    );
    if (words.detail) {
      d.texts.append(svg("text", { class: `mark-detail${tone}`, x: x - 2, y: y + 14 }, words.detail));
    }
    d.taken.push({ x: x - 2, y: y - 12, wide: label.wide, high: words.detail ? 29 : 16 });
  }

  /** The ends of a call: when it was sent, arrived, was done, and was answered. */
  function ends(d, invoke) {
    const { plan, h } = d;
    const from = h.lane(invoke);
    const to = h.peer(invoke);
    if (!plan.y.has(from) || !plan.y.has(to)) return null;
    const done = h.completion(invoke);
    const sent = plan.x(invoke);
    const back = done >= 0 ? plan.x(done) : plan.width - 4;
    const commits = h.commits(invoke).filter((op) => plan.has(op));
    const direct = commits.filter((op) => h.lane(op) === to);
    const guest = commits.filter((op) => h.lane(op) !== to && plan.y.has(h.lane(op)));
    const arrive = direct.length ? plan.x(direct[0])
      : guest.length ? (sent + plan.x(guest[0])) / 2
      : sent + Math.min(d.story ? 40 : 20, (back - sent) * 0.45);
    const intime = commits.filter((op) => done < 0 || op < done);
    const leave = Math.max(arrive, ...intime.map((op) => plan.x(op))) +
      (commits.length ? 0 : Math.min(10, (back - sent) * 0.1));
    return {
      invoke, done, sent, arrive, leave, back, commits, guest,
      y1: plan.y.get(from), y2: plan.y.get(to), late: commits.length > 0 && !intime.length,
      answer: done < 0 ? "" : h.letters[done],
      // On a long way the strike is where its time is; on a short one just before the service.
      part: (op) => (commits.length && arrive - sent > 120
        ? Math.min(0.85, Math.max(0.15, (plan.xAt(h.timeUs(op)) - sent) / (arrive - sent))) : 0.85),
      strikes: h.strikes(invoke).map((op) => ({ op, ...lab.strikeWords(h, op) })),
    };
  }

  function call(d, invoke) {
    const e = ends(d, invoke);
    if (!e) return;
    const put = (name, path) => d.arrows.append(svg("path", { class: name, d: path }));
    const stopped = e.strikes.find((s) => /^before/.test(s.phase));
    const lost = !e.commits.length && e.answer === "n" && stopped;
    if (lost) {
      put("call", lab.line(e.sent, e.y1, ...boltPlace(e, stopped, 0)));
    } else {
      put("call", lab.arrow(e.sent, e.y1, e.arrive, e.y2 - 5 * Math.sign(e.y2 - e.y1)));
    }
    for (const op of e.guest) {
      const y = d.plan.y.get(d.h.lane(op));
      put("call", lab.arrow(e.arrive, e.y2, d.plan.x(op), y - 6 * Math.sign(y - e.y2)));
    }
    if (e.answer === "n") put("call-info", lab.line(e.sent + 6, e.y1 + 7, e.back - 9, e.y1 + 7));
    if (!lost && !e.late) reply(e, put);
    e.strikes.forEach((strike, n) => bolt(d, e, strike, n));
  }

  /** Back to the agent: whole where the answer came, broken off where nobody knows. */
  function reply(e, put) {
    const near = e.y1 + 6 * Math.sign(e.y2 - e.y1);
    if (e.answer === "o") {
      if (e.back > 0) put("reply", lab.arrow(e.leave, e.y2, e.back, near));
    } else if (e.answer === "f") {
      put("call-fail", lab.arrow(e.leave, e.y2, e.back, near));
    } else if (e.answer === "n") {
      const struck = e.strikes.find((s) => /^(after|mid)/.test(s.phase));
      const [x, y] = struck ? onReply(e, struck.phase === "after-reply" ? 0.85 : 0.3) : [e.leave, e.y2];
      if (struck) put("reply", lab.line(e.leave, e.y2, x, y));
      put("call-info", lab.line(x, y, e.back, near + 4));
    }
  }

  function onReply(e, part) {
    // After a long wait the answer is not as late as the agent's patience: it is lost on its way.
    const far = Math.min(e.back, e.leave + Math.max(40, Math.abs(e.y2 - e.y1) * 0.6));
    const x = part > 0.5 ? e.leave + (e.back - e.leave) * part : e.leave + (far - e.leave) * part;
    return [x, e.y2 + (e.y1 - e.y2) * part];
  }

  function boltPlace(e, strike, n) {
    const along = (part) => [e.sent + (e.arrive - e.sent) * part, e.y1 + (e.y2 - e.y1) * part];
    const aside = n * 16;
    let place;
    if (strike.phase === "before-send") place = along(0.25);
    else if (strike.phase === "before-commit") place = along(e.part(strike.op));
    else if (strike.phase === "after-reply") place = onReply(e, 0.85);
    else place = onReply(e, 0.3);
    return [place[0] + aside, place[1]];
  }

  const BOLT = "M2 -11L-6 2L-1 2L-3 11L6 -3L1 -3Z";

  function bolt(d, e, strike, n) {
    const [x, y] = boltPlace(e, strike, n);
    const g = entry(d, strike.op, x, y, "strike");
    g.append(svg("path", { class: "strike", d: BOLT, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }));
    d.marks.set(strike.op, g);
    d.taken.push({ x: x - 7, y: y - 12, wide: 14, high: 24 });
    if (!d.story && d.plan.strikeTexts > 30) return;
    d.plan.strikeTexts = (d.plan.strikeTexts || 0) + 1;
    d.waiting.push([x, y, [strike.title, strike.detail]]);
  }

  /** Two lines of text near a point, where nothing else is written yet. */
  function beside(d, x, y, [title, detail]) {
    const wide = Math.max(lab.textWidth(title, true), lab.textWidth(detail, false, 11)) + 4;
    const clear = (box) => d.taken.every((t) =>
      box.x > t.x + t.wide || t.x > box.x + box.wide || box.y > t.y + t.high || t.y > box.y + box.high);
    const tries = [0, -14, 14, -28, 28, -44, 44];
    let best = null;
    for (const by of tries) {
      for (const left of [x + 12, x - wide - 12]) {
        const box = { x: left, y: y + by - 14, wide, high: 29 };
        if (best === null || (left > d.plan.left && clear(box))) best = box;
        if (left > d.plan.left && clear(box)) { placed(d, box, title, detail); return; }
      }
    }
    if (d.story) placed(d, best, title, detail);
  }

  function placed(d, box, title, detail) {
    d.taken.push(box);
    d.texts.append(
      svg("text", { class: "strike-text", x: box.x, y: box.y + 12 }, title),
      svg("text", { class: "strike-detail", x: box.x, y: box.y + 26 }, detail));
    d.plan.width = Math.max(d.plan.width, box.x + box.wide + 6);
  }

  /** The group of an entry: focusable, named, with a place to hit it. */
  function entry(d, op, x, y, kind) {
    const shown = d.witness.has(op) ? " witness" : "";
    return svg("g", {
      class: `st-mark st-mark-${kind}${shown}`, role: "button", tabindex: "-1", "data-op": op,
      "aria-label": lab.sentence(d.h, op) + (shown ? " (evidence)" : ""),
    }, svg("circle", { class: "hit", cx: x, cy: y, r: d.story ? 13 : 8 }));
  }

  function mark(d, op) {
    const { plan, h } = d;
    const y = plan.y.get(plan.markLane(op));
    if (y === undefined) return;
    const x = plan.x(op);
    const letter = h.letters[op];
    const shape = letter === "e" ? EVENTS[h.f(op)] || eventOf(h.f(op)) : SHAPES[letter];
    const g = entry(d, op, x, y, letter === "c" ? "commit" : "entry");
    g.append(...shape(x, y, d, op));
    d.marks.set(op, g);
  }

  const cross = (x, y, r) => lab.line(x - r, y - r, x + r, y + r) + lab.line(x - r, y + r, x + r, y - r);
  const dot = (name, r) => (x, y) => [svg("circle", { class: name, cx: x, cy: y, r })];

  const SHAPES = {
    i: (x, y, d, op) => [svg("circle", { class: d.h.keyChanged(op) ? "sent sent-changed" : "sent", cx: x, cy: y, r: 4.5 })],
    o: dot("answered", 3.5),
    f: (x, y) => [
      svg("circle", { class: "refused", cx: x, cy: y, r: 7 }),
      svg("path", { class: "call-fail", d: lab.line(x - 4, y, x + 4, y) }),
    ],
    n: (x, y) => [
      svg("circle", { class: "unknown", cx: x, cy: y, r: 8.5 }),
      svg("text", { class: "unknown-text", x, y: y + 4.5, "text-anchor": "middle" }, "?"),
    ],
    c: (x, y, d, op) => {
      const extra = d.h.repeats(op) > 0;
      const made = [svg("circle", { class: "commit", cx: x, cy: y, r: d.story ? 7 : 5 })];
      if (extra) {
        made.push(
          svg("circle", { class: "commit-extra", cx: x, cy: y, r: d.story ? 12.5 : 9 }),
          svg("text", { class: "extra-text", x: x + (d.story ? 17 : 11), y: y + 5 }, `${d.h.repeats(op) + 1}×`));
      }
      return made;
    },
  };

  const flag = (x, y, d, op) => [
    svg("path", { class: `flag tone-${lab.words(d.h, op).tone || "plain"}`, d: `M${x.toFixed(1)} ${(y + 4).toFixed(1)}v-20l13 5.5l-13 5.5` }),
  ];
  const small = (x, y) => [svg("rect", { class: "st-small", x: x - 3.5, y: y - 3.5, width: 7, height: 7 })];
  const EVENTS = {
    "task.outcome": flag,
    "report.outcome": small,
    "process.kill": (x, y) => [svg("path", { class: "crash", d: cross(x, y, 9) })],
    "process.pause": (x, y) => [svg("path", { class: "pause", d: lab.line(x - 3, y - 8, x - 3, y + 8) + lab.line(x + 3, y - 8, x + 3, y + 8) })],
    "process.resume": (x, y) => [svg("path", { class: "resume", d: `M${(x - 4).toFixed(1)} ${(y - 7).toFixed(1)}l10 7l-10 7z` })],
    "nemesis.strike": (x, y) => [svg("path", { class: "strike", d: BOLT, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` })],
    "nemesis.heal": (x, y, d) => [
      svg("path", { class: "heal", d: lab.line(x, 40, x, d.plan.height - 6) }),
      svg("text", { class: "heal-text", x: x + 4, y: d.plan.height - 8 }, "heal"),
    ],
  };

  function eventOf(f) {
    if (f.startsWith("tools.")) {
      return (x, y) => [svg("path", { class: "absorbed", d: `M${x.toFixed(1)} ${(y - 8).toFixed(1)}l8 8l-8 8l-8 -8z` })];
    }
    return small;
  }
})();
