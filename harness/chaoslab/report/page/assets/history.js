/*
 * A history as the page holds it: one typed array a column, so that 100,000 entries are a few
 * megabytes and are read in milliseconds. What an entry carried (its value) stays compressed in the
 * page until somebody asks for it, a block at a time.
 *
 * Times are whole microseconds in a Float64Array: exact up to 2^53, which is 285 years.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  const TYPES = { i: "invoke", o: "ok", f: "fail", n: "info", c: "commit", e: "event" };
  const NONE = -1;

  class History {
    constructor(raw, values) {
      this.n = raw.ops;
      this.strings = raw.strings;
      this.lanes = raw.lanes;
      this.block = raw.block;
      this.letters = raw.type;
      this.times = undelta(raw.t_us);
      for (const name of ["f", "lane", "peer", "call", "task", "session", "marker", "key", "label"]) {
        this["_" + name] = Int32Array.from(raw[name]);
      }
      this._attempt = Int32Array.from(raw.attempt || [], (x) => (x > 0 ? x : 0));
      this._values = values;
      index(this);
    }

    /** Virtual time since the start, in µs. */
    timeUs(i) { return this.times[i]; }
    timeNs(i) { return this.times[i] * 1000; }
    type(i) { return TYPES[this.letters[i]] || "event"; }
    f(i) { return this.text("_f", i); }
    lane(i) { return this._lane[i]; }
    peer(i) { return this._peer[i]; }
    /** The number of the invoke that this entry belongs to, or -1. */
    call(i) { return this._call[i]; }
    task(i) { return this.text("_task", i); }
    session(i) { return this.text("_session", i); }
    marker(i) { return this.text("_marker", i); }
    /** The idempotency key, or "" where there was none. */
    key(i) { return this.text("_key", i); }
    attempt(i) { return this._attempt[i] || 0; }
    label(i) { return this.text("_label", i); }
    text(column, i) {
      const at = this[column][i];
      return at >= 0 ? this.strings[at] : "";
    }

    /** The agent process that an entry is about, as a lane number, or -1. */
    processLane(i) {
      for (const lane of [this._lane[i], this._peer[i]]) {
        if (lane >= 0 && this.lanes[lane].kind === "process") return lane;
      }
      const call = this._call[i];
      if (call >= 0) return this._lane[call];
      const task = this._task[i];
      return task >= 0 ? this.laneOfTask(task, i) : NONE;
    }

    /** Where a task last did something before entry i, else where it is first seen after it. */
    laneOfTask(task, i) {
      const seen = this._calls.get(task);
      if (!seen) return NONE;
      const at = lowerBound(seen, i);
      return this._lane[seen[at > 0 ? at - 1 : 0]];
    }

    /** The answer of a call, or -1. */
    completion(invoke) { return this._completion[invoke]; }

    /** The commits of a call, in order. */
    commits(invoke) { return this._commits.get(invoke) || []; }

    /** The strikes of the lab on a call. */
    strikes(invoke) { return this._strikes.get(invoke) || []; }

    /** How many commits of the same action came before this one (tools only): 0 for the first. */
    repeats(i) { return this._nth.get(i) || 0; }

    /** The try before this one of the same action by anybody, or -1. */
    tryBefore(i) { return this._before.has(i) ? this._before.get(i) : NONE; }

    /** Whether this try carries another key than an earlier one of its action. */
    keyChanged(i) {
      const before = this.tryBefore(i);
      // By number: two keys stay two even where a mask makes them look the same.
      return before >= 0 && this._key[before] >= 0 && this._key[i] >= 0 &&
        this._key[before] !== this._key[i];
    }

    /** The first entry at or after a time in µs. */
    at(us) { return Math.min(lowerBound(this.times, us), this.n - 1); }

    /** What the entry carried. */
    async value(i) {
      const values = await this._values(Math.floor(i / this.block));
      return values[i % this.block];
    }
  }

  function undelta(deltas) {
    const times = new Float64Array(deltas.length);
    let now = 0;
    for (let i = 0; i < deltas.length; i++) times[i] = now += deltas[i];
    return times;
  }

  /** The first place in a sorted list whose number is not below x. */
  function lowerBound(sorted, x) {
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < x) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** One pass over all entries: which belong together. */
  function index(h) {
    h._completion = new Int32Array(h.n).fill(NONE);
    h._commits = new Map();
    h._strikes = new Map();
    h._calls = new Map();
    h._nth = new Map();
    h._before = new Map();
    h.marks = []; // the few entries about processes, regions and the lab itself
    h.struck = [];
    h.submits = new Map(); // by task: when it was handed to whom
    h.outcomes = new Map(); // by task (a number of a string): how the agent said it ended
    const about = h.strings.map(subject);
    const done = new Map();
    const tried = new Map();
    for (let i = 0; i < h.n; i++) {
      const letter = h.letters[i];
      const subject = h._f[i] >= 0 ? about[h._f[i]] : "";
      const call = h._call[i];
      if (letter === "i") {
        push(h._calls, h._task[i], i);
        if (subject === "tool" || subject === "wasm") count(h, tried, i, h._before, true);
      } else if (letter === "c") {
        if (call >= 0) push(h._commits, call, i);
        if (subject === "tool") count(h, done, i, h._nth, false);
      } else if (letter !== "e") {
        if (call >= 0) h._completion[call] = i;
      } else if (subject === "strike") {
        h.struck.push(i);
        h.marks.push(i);
        if (call >= 0) push(h._strikes, call, i);
      } else if (subject === "mark") {
        h.marks.push(i);
      } else if (subject === "outcome") {
        push(h.outcomes, h._task[i], i);
      } else if (subject === "submit") {
        push(h.submits, h._task[i], i);
      }
    }
  }

  function subject(f) {
    if (f === "nemesis.strike") return "strike";
    if (f === "task.outcome") return "outcome";
    if (f === "task.submit") return "submit";
    if (/^(process|region|nemesis|lab)\./.test(f)) return "mark";
    if (f.startsWith("tools.") && !f.endsWith(".lookup")) return "tool";
    return f.startsWith("wasm.") ? "wasm" : "";
  }

  function push(map, key, i) {
    const list = map.get(key);
    if (list) list.push(i);
    else map.set(key, [i]);
  }

  /** Either the try before this one (`last`), or how many there were already. */
  function count(h, seen, i, into, last) {
    if (h._marker[i] < 0) return;
    const action = h._f[i] * 4194304 + h._marker[i];
    if (seen.has(action)) into.set(i, seen.get(action));
    seen.set(action, last ? i : (seen.get(action) || 0) + 1);
  }

  /**
   * The history of a run, decoded.
   * @param {number} n the run's number in the page
   * @param {string} where "fault", "control", "repeat-1" …
   * @returns {Promise<History>}
   */
  lab.history = async (n, where) => {
    const raw = await lab.chunk(`hist-${n}-${where}`);
    return new History(raw, (block) => lab.chunk(`vals-${n}-${where}-${block}`));
  };
  lab.History = History;
  lab.lowerBound = lowerBound;
})();
