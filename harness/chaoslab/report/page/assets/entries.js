/*
 * All entries of a history as a list. Only the rows in sight are in the page, so a list of 100,000
 * scrolls like one of ten; the value of the chosen entry is fetched when it is chosen.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  const ROW = 26; // px, as in drawings.css
  const SPARE = 8;
  const TALL_MOST = 8000000; // browsers stop believing in an element's height somewhere above this
  const TYPES = {
    i: "asked", o: "✓ answered", f: "⊘ refused", n: "? unknown", c: "● committed", e: "",
  };

  /**
   * Shows the entries of a history.
   * @param {Element} container is emptied first
   * @param {object} history from lab.history
   * @param {{witness?: number[], onSelect?: function(number)}} options
   * @returns {{select: function(number)}} shows and opens an entry
   */
  lab.entries = (container, history, options = {}) => {
    const list = new List(container, history, options);
    return { select: (op) => list.choose(op, false) };
  };

  class List {
    constructor(container, h, { witness = [], onSelect = () => {} }) {
      Object.assign(this, { h, onSelect, witness: new Set(witness.filter((op) => op >= 0 && op < h.n)), chosen: -1 });
      this.base = lab.freshId("entry");
      this.tall = Math.min(h.n * ROW, TALL_MOST);
      this.ordered = [...this.witness].sort((a, b) => a - b);
      this.build(container);
      this.paint();
    }

    build(container) {
      lab.clear(container);
      this.number = lab.el("input", { type: "number", min: 0, max: Math.max(0, this.h.n - 1), "aria-label": "number of an entry", class: "en-number" });
      const go = lab.el("button", { type: "button" }, "Go");
      const next = lab.el("button", { type: "button" }, "Next evidence ◆");
      next.hidden = !this.ordered.length;
      this.spacer = lab.svg("svg", { class: "en-spacer", width: 1, height: this.tall, "aria-hidden": "true" });
      this.window = lab.el("div", { class: "en-window", role: "presentation" });
      this.box = lab.el("div", {
        class: "en-scroll", role: "listbox", tabindex: 0,
        "aria-label": `${this.h.n} entries; arrow keys, Home and End move, Enter opens`,
      }, this.spacer, this.window);
      this.title = lab.el("p", { class: "en-title", "aria-live": "polite" }, "Choose an entry to see what it carried.");
      this.value = lab.el("pre", { class: "en-value", tabindex: 0, role: "group", "aria-label": "value of the chosen entry" });
      container.append(lab.el("div", { class: "en" },
        lab.el("div", { class: "en-bar" }, lab.el("label", {}, "Entry # ", this.number), go, next,
          lab.el("span", { class: "st-where" }, `${this.h.n} entries, ◆ is evidence`)),
        lab.el("div", { class: "en-head", "aria-hidden": "true" },
          ["number", "time", "process", "what", "outcome"].map((word) => lab.el("span", {}, word))),
        this.box, this.title, this.value));
      this.listen(go, next);
    }

    listen(go, next) {
      const find = () => { if (this.number.value !== "") this.choose(Number(this.number.value)); };
      go.addEventListener("click", find);
      this.number.addEventListener("keydown", (event) => { if (event.key === "Enter") find(); });
      next.addEventListener("click", () => {
        const after = this.ordered.find((op) => op > this.chosen);
        this.choose(after === undefined ? this.ordered[0] : after);
      });
      this.box.addEventListener("scroll", () => this.paint());
      this.box.addEventListener("keydown", (event) => this.key(event));
      this.box.addEventListener("click", (event) => {
        const row = event.target instanceof Element ? event.target.closest("[data-op]") : null;
        if (row) this.choose(Number(row.getAttribute("data-op")));
      });
      if (typeof ResizeObserver !== "undefined") new ResizeObserver(() => this.paint()).observe(this.box);
    }

    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 1);
      const to = {
        ArrowDown: this.chosen + 1, ArrowUp: this.chosen - 1, PageDown: this.chosen + page,
        PageUp: this.chosen - page, Home: 0, End: this.h.n - 1, Enter: this.chosen,
      }[event.key];
      if (to === undefined || !this.h.n) return;
      event.preventDefault();
      this.choose(to);
    }

    /** The first row in sight. A list taller than a browser can hold is scrolled in proportion. */
    first() {
      const high = this.box.clientHeight || 300;
      const all = this.h.n * ROW;
      if (all <= this.tall) return Math.floor(this.box.scrollTop / ROW);
      const part = this.box.scrollTop / Math.max(1, this.tall - high);
      return Math.floor((part * (all - high)) / ROW);
    }

    paint() {
      const { h } = this;
      const rows = Math.ceil((this.box.clientHeight || 300) / ROW) + SPARE;
      const from = Math.max(0, Math.min(this.first(), h.n - 1) - SPARE / 2);
      const to = Math.min(h.n, from + rows);
      lab.clear(this.window);
      this.window.append(lab.svg("svg", { class: "en-spacer", width: 1, height: this.offset(from), "aria-hidden": "true" }));
      for (let i = from; i < to; i++) this.window.append(this.row(i));
      if (this.chosen >= from && this.chosen < to) this.box.setAttribute("aria-activedescendant", `${this.base}-${this.chosen}`);
      else this.box.removeAttribute("aria-activedescendant");
    }

    /** How far down the rows begin, so that they are where the scroll bar says. */
    offset(from) {
      if (this.h.n * ROW <= this.tall) return from * ROW;
      return Math.max(0, this.box.scrollTop - (this.first() - from) * ROW);
    }

    row(i) {
      const { h } = this;
      const process = h.processLane(i);
      const words = lab.words(h, i);
      const evidence = this.witness.has(i);
      const strike = h.f(i) === "nemesis.strike" ? " en-strike" : "";
      const letter = h.letters[i];
      return lab.el("div", {
        class: `en-row en-type-${letter}${evidence ? " en-witness" : ""}${strike}${i === this.chosen ? " en-chosen" : ""}`,
        role: "option", id: `${this.base}-${i}`, "data-op": i, "aria-selected": String(i === this.chosen),
        "aria-posinset": i + 1, "aria-setsize": h.n, "aria-label": lab.sentence(h, i) + (evidence ? " (evidence)" : ""),
      },
      lab.el("span", { class: "en-n" }, `${evidence ? "◆ " : ""}#${i}`),
      lab.el("span", { class: "en-t" }, lab.seconds(h.timeUs(i))),
      lab.el("span", {}, process >= 0 ? h.lanes[process].label : ""),
      lab.el("span", {}, what(h, i, words)),
      lab.el("span", { class: "en-out" }, outcome(h, i, words)));
    }

    /** Opens an entry; the caller hears of it unless it was the caller who asked. */
    choose(op, tell = true) {
      if (!this.h.n || !Number.isFinite(op)) return;
      const i = Math.max(0, Math.min(this.h.n - 1, Math.trunc(op)));
      this.chosen = i;
      this.number.value = String(i);
      this.bring(i);
      this.paint();
      this.open(i);
      if (tell) this.onSelect(i);
    }

    bring(i) {
      const high = this.box.clientHeight || 300;
      const all = this.h.n * ROW;
      if (all > this.tall) {
        this.box.scrollTop = ((i * ROW) / (all - high)) * (this.tall - high);
        return;
      }
      const top = i * ROW;
      if (top < this.box.scrollTop) this.box.scrollTop = top;
      else if (top + ROW > this.box.scrollTop + high) this.box.scrollTop = top + ROW - high;
    }

    async open(i) {
      this.title.textContent = lab.sentence(this.h, i);
      this.value.textContent = "…";
      let text;
      try {
        const value = await this.h.value(i);
        text = value === null || value === undefined ? "(nothing)" : JSON.stringify(value, null, 2);
      } catch (error) {
        text = `The value is not in this file: ${error.message}`;
      }
      if (this.chosen === i) this.value.textContent = text;
    }
  }

  function what(h, i, words) {
    const call = h.call(i);
    if (h.letters[i] === "e" || h.letters[i] === "i" || call < 0) {
      return words.detail ? `${words.title}, ${words.detail}` : words.title;
    }
    const about = `${lab.subject(h.f(i))} ${lab.short(h.marker(i), 24)}`;
    return `${about} (#${call}): ${words.title}`;
  }

  function outcome(h, i, words) {
    const letter = h.letters[i];
    if (letter === "e") return h.f(i) === "nemesis.strike" ? "⚡ strike" : h.f(i) === "task.outcome" ? h.label(i) : "";
    if (letter === "c" && h.repeats(i) > 0) return `● again, ${h.repeats(i) + 1}×`;
    if (letter === "f" || letter === "n") return `${TYPES[letter]}: ${h.label(i)}`;
    return letter === "i" && words.tone === "warn" ? "another key" : TYPES[letter];
  }
})();
