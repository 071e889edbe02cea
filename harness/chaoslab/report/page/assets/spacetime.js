/*
 * The space-time drawing of a history with its controls: the story alone, or everything in a window
 * with earlier and later, a map of the whole history, zoom, and the keyboard.
 *
 * However long the history is, only a window of it is drawn, so the page holds at most some 3,000
 * nodes and 100,000 entries open as fast as 100.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  const WINDOW = 400;
  const ZOOMS = [0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4];
  const MAP_WIDE = 600;
  const MAP_HIGH = 34;

  /**
   * Draws a history into a container.
   * @param {Element} container is emptied first
   * @param {object} history from lab.history
   * @param {{witness?: number[], focus?: number[], onSelect?: function(number)}} options
   * @returns {{select: function(number), show: function(string)}} select shows and marks an entry
   */
  lab.spaceTime = (container, history, options = {}) => {
    const view = new View(container, history, options);
    view.draw();
    return { select: (op) => view.reveal(op), show: (mode) => view.mode(mode) };
  };

  class View {
    constructor(container, h, { witness = [], focus = [], onSelect = () => {} }) {
      Object.assign(this, { container, h, onSelect });
      this.witness = new Set(witness.filter((op) => Number.isInteger(op) && op >= 0 && op < h.n));
      this.named = new Set([...focus, ...this.witness]);
      this.story = lab.storyEntries(h, { focus, witness });
      this.storyOnly = this.story.length > 0;
      this.start = this.story.length ? windowStart(h, this.story[0]) : 0;
      this.zoom = ZOOMS.indexOf(1);
      this.current = null;
      this.selected = null;
      this.marks = new Map();
      this.build();
    }

    build() {
      lab.clear(this.container);
      this.buttons = this.controls();
      this.scroll = lab.el("div", { class: "st-scroll" });
      this.map = lab.svg("svg", {
        class: "st-map", viewBox: `0 0 ${MAP_WIDE} ${MAP_HIGH}`, preserveAspectRatio: "none",
        "aria-hidden": "true",
      });
      this.detail = lab.el("p", { class: "st-detail", "aria-live": "polite" },
        "Point at a mark, or move from mark to mark with the arrow keys; Enter opens the entry.");
      this.legend = lab.el("ul", { class: "st-legend" });
      this.summary = lab.el("p", { class: "st-hidden", id: lab.freshId("st-summary") });
      this.container.append(
        lab.el("div", { class: "st" }, this.buttons.bar, this.map, this.scroll, this.detail,
          this.legend, this.summary));
      this.scroll.addEventListener("scroll", () => this.stick());
      this.map.addEventListener("click", (event) => this.jump(event));
      this.listen(this.scroll);
      window.addEventListener("beforeprint", () => this.stick(0));
      window.addEventListener("afterprint", () => this.stick());
      watchWidth(this);
    }

    controls() {
      const button = (text, name, act) => {
        const made = lab.el("button", { type: "button", "aria-label": name }, text);
        made.addEventListener("click", act);
        return made;
      };
      const made = {
        story: button("The story", "show only the story", () => this.mode("story")),
        all: button("Everything", "show all entries", () => this.mode("everything")),
        earlier: button("‹ earlier", "earlier entries", () => this.move(-WINDOW)),
        later: button("later ›", "later entries", () => this.move(WINDOW)),
        out: button("−", "zoom out", () => this.zoomBy(-1)),
        into: button("+", "zoom in", () => this.zoomBy(1)),
        where: lab.el("span", { class: "st-where" }),
      };
      made.bar = lab.el("div", { class: "st-bar", role: "group", "aria-label": "the drawing" },
        made.story, made.all, made.earlier, made.later, made.where, made.out, made.into);
      return made;
    }

    entries() {
      if (this.storyOnly) return this.story;
      const last = Math.min(this.h.n, this.start + WINDOW);
      return Array.from({ length: last - this.start }, (_, k) => this.start + k);
    }

    draw() {
      const { h } = this;
      const mode = this.storyOnly ? "story" : "everything";
      const entries = this.entries();
      const plan = lab.layout(h, {
        entries, mode, zoom: ZOOMS[this.zoom], room: this.container.clientWidth || 900,
        labelled: (op) => (this.storyOnly ? this.worthWords(op) : this.telling(op)),
      });
      const root = lab.svg("svg", { class: `st-drawing st-${mode}`, role: "group", focusable: "false" });
      plan.hatch = lab.freshId("st-hatch");
      root.append(lab.hatching(plan.hatch));
      this.marks = lab.drawPlan(root, plan, { witness: this.witness });
      this.names = lab.laneNames(plan);
      root.append(this.names);
      root.setAttribute("width", String(Math.ceil(plan.width)));
      root.setAttribute("height", String(Math.ceil(plan.height)));
      root.setAttribute("viewBox", `0 0 ${Math.ceil(plan.width)} ${Math.ceil(plan.height)}`);
      lab.clear(this.scroll);
      this.scroll.append(root);
      this.plan = plan;
      this.describe(root, entries);
      this.legendFor(entries);
      this.mapFor(entries);
      this.order = entries.filter((op) => this.marks.has(op));
      const at = this.order.includes(this.current) ? this.current : this.order[0];
      this.tab(at);
      this.markSelected();
      this.stick();
    }

    /** In the story everything has its words, but for an answer that only says that it came. */
    worthWords(op) {
      return this.named.has(op) || this.h.letters[op] !== "o";
    }

    /** Whether an entry is worth a label among hundreds. */
    telling(op) {
      const { h } = this;
      const f = h.f(op);
      return this.witness.has(op) || h.letters[op] === "n" || h.repeats(op) > 0 ||
        /^(region\.|nemesis\.heal|process\.(kill|pause|resume))/.test(f) || h.keyChanged(op);
    }

    describe(root, entries) {
      const { h } = this;
      const told = entries.slice(0, 14).map((op) => lab.sentence(h, op));
      const more = entries.length > told.length ? ` … and ${entries.length - told.length} more` : "";
      this.summary.textContent = `${entries.length} entries: ${told.join("; ")}${more}`;
      root.setAttribute("aria-label", this.storyOnly
        ? "Space-time drawing of the story: one lane a process and a service, time to the right"
        : "Space-time drawing of all entries in a window");
      root.setAttribute("aria-describedby", this.summary.id);
      const { buttons } = this;
      buttons.story.setAttribute("aria-pressed", String(this.storyOnly));
      buttons.all.setAttribute("aria-pressed", String(!this.storyOnly));
      buttons.story.disabled = !this.story.length;
      const last = entries[entries.length - 1];
      buttons.earlier.hidden = buttons.later.hidden = this.storyOnly;
      buttons.earlier.disabled = this.start <= 0;
      buttons.later.disabled = this.start + WINDOW >= h.n;
      buttons.out.disabled = this.zoom === 0;
      buttons.into.disabled = this.zoom === ZOOMS.length - 1;
      buttons.where.textContent = !entries.length ? "nothing was recorded" : this.storyOnly
        ? `${entries.length} of ${h.n} entries`
        : `entries ${entries[0]}–${last} of ${h.n}`;
      this.map.setAttribute("class", this.storyOnly ? "st-map st-map-off" : "st-map");
    }

    legendFor(entries) {
      const { h } = this;
      const has = (test) => entries.some(test);
      const rows = [
        ["sent", "asks", has((op) => h.letters[op] === "i")],
        ["commit", "committed: it is done", has((op) => h.letters[op] === "c")],
        ["extra", "done again: one row more", has((op) => h.repeats(op) > 0)],
        ["again", "repeat recognised: nothing done twice", has((op) => h.letters[op] === "e" && h.f(op).startsWith("tools."))],
        ["strike", "fault by the lab", has((op) => h.f(op) === "nemesis.strike")],
        ["unknown", "outcome unknown", has((op) => h.letters[op] === "n")],
        ["refused", "refused", has((op) => h.letters[op] === "f")],
        ["crash", "process killed", has((op) => h.f(op) === "process.kill")],
        ["flag", "reports an outcome", has((op) => h.f(op) === "task.outcome")],
        ["evidence", "number underlined: evidence", has((op) => this.witness.has(op))],
        ["break", "quiet time, cut short", this.plan.steps.some((s) => s.quiet >= 1e6)],
      ];
      lab.clear(this.legend);
      for (const [name, text, used] of rows) {
        if (used) this.legend.append(lab.el("li", {}, lab.legendMark(name), text));
      }
    }

    /** The whole history in true time: how much happened when, strikes, evidence, the window. */
    mapFor(entries) {
      lab.clear(this.map);
      if (this.storyOnly || !this.h.n) return;
      const { h } = this;
      const span = Math.max(1, h.timeUs(h.n - 1));
      const x = (op) => (h.timeUs(op) / span) * MAP_WIDE;
      this.density = this.density || lab.densityPath(h, span, MAP_WIDE, MAP_HIGH);
      const ticks = (ops, top, foot) => [...new Set([...ops].map((op) => Math.round(x(op))))]
        .map((at) => lab.line(at, top, at, foot)).join("");
      const left = x(entries[0]);
      const wide = Math.max(4, x(entries[entries.length - 1]) - left);
      this.map.append(
        lab.svg("path", { class: "map-density", d: this.density }),
        lab.svg("path", { class: "map-strike", d: ticks(h.struck.slice(0, 5000), 0, 12) }),
        lab.svg("path", { class: "map-witness", d: ticks(this.witness, MAP_HIGH - 8, MAP_HIGH) }),
        lab.svg("rect", { class: "map-window", x: Math.min(left, MAP_WIDE - wide), y: 0.5, width: wide, height: MAP_HIGH - 1 }));
    }

    jump(event) {
      const box = this.map.getBoundingClientRect();
      const span = this.h.timeUs(this.h.n - 1);
      const op = this.h.at(((event.clientX - box.left) / box.width) * span);
      this.start = windowStart(this.h, op);
      this.draw();
    }

    mode(mode) {
      this.storyOnly = mode === "story" && this.story.length > 0;
      if (!this.storyOnly && this.current !== null) this.start = windowStart(this.h, this.current);
      this.draw();
      this.center(this.current, true);
    }

    move(by) {
      const most = Math.max(0, this.h.n - WINDOW);
      this.start = Math.min(most, Math.max(0, this.start + by));
      this.scroll.scrollLeft = 0;
      this.draw();
    }

    zoomBy(by) {
      this.zoom = Math.min(ZOOMS.length - 1, Math.max(0, this.zoom + by));
      this.draw();
      this.center(this.current);
    }

    /** The names of the lanes stay in sight while the drawing moves under them. */
    stick(at = this.scroll.scrollLeft) {
      if (this.names) this.names.setAttribute("transform", `translate(${at} 0)`);
    }

    listen(scroll) {
      const opOf = (event) => {
        const mark = event.target instanceof Element ? event.target.closest("[data-op]") : null;
        return mark ? Number(mark.getAttribute("data-op")) : null;
      };
      scroll.addEventListener("pointerover", (event) => {
        const op = opOf(event);
        if (op !== null) this.tell(op);
      });
      scroll.addEventListener("focusin", (event) => {
        const op = opOf(event);
        if (op !== null) { this.tell(op); this.tab(op); }
      });
      scroll.addEventListener("click", (event) => {
        const op = opOf(event);
        if (op !== null) this.select(op);
      });
      scroll.addEventListener("keydown", (event) => this.key(event));
      draggable(scroll);
    }

    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const at = this.order.indexOf(this.current);
      const to = {
        ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1,
        Home: 0, End: this.order.length - 1,
      }[event.key];
      if (to !== undefined) {
        event.preventDefault();
        this.step(to);
      } else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        if (this.current !== null) this.select(this.current);
      } else if (event.key === "+" || event.key === "-") {
        event.preventDefault();
        this.zoomBy(event.key === "+" ? 1 : -1);
        this.focus(this.current);
      }
    }

    /** To the next mark; past the edge of a window, into the next window. */
    step(to) {
      if (!this.storyOnly && to < 0 && this.start > 0) {
        const before = this.start;
        this.move(-WINDOW);
        this.focus(this.order.filter((op) => op < before).pop());
      } else if (!this.storyOnly && to >= this.order.length && this.start + WINDOW < this.h.n) {
        const after = this.order[this.order.length - 1];
        this.move(WINDOW);
        this.focus(this.order.find((op) => op > after));
      } else {
        this.focus(this.order[Math.min(this.order.length - 1, Math.max(0, to))]);
      }
    }

    focus(op) {
      const mark = this.marks.get(op);
      if (!mark) return;
      this.tab(op);
      this.center(op);
      mark.focus({ preventScroll: true });
    }

    tab(op) {
      const old = this.marks.get(this.current);
      if (old) old.setAttribute("tabindex", "-1");
      const mark = this.marks.get(op);
      if (!mark) return;
      this.current = op;
      mark.setAttribute("tabindex", "0");
    }

    tell(op) {
      this.detail.textContent = lab.sentence(this.h, op);
    }

    /** Scrolls sideways only as far as it takes to see an entry. */
    center(op, always = false) {
      if (!this.marks.has(op)) return;
      const x = this.plan.x(this.plan.has(op) && this.h.f(op) === "nemesis.strike" && this.h.call(op) >= 0
        ? this.h.call(op) : op);
      const { scrollLeft, clientWidth } = this.scroll;
      if (always || x < scrollLeft + this.plan.left + 20 || x > scrollLeft + clientWidth - 60) {
        this.scroll.scrollLeft = Math.max(0, x - (this.plan.left + clientWidth) / 2);
      }
      this.stick();
    }

    select(op) {
      this.tab(op);
      this.selected = op;
      this.tell(op);
      this.markSelected();
      this.onSelect(op);
    }

    markSelected() {
      for (const [op, mark] of this.marks) mark.classList.toggle("selected", op === this.selected);
    }

    /** Somebody else chose an entry: it is shown here too, with everything around it if need be. */
    reveal(op) {
      if (!Number.isInteger(op) || op < 0 || op >= this.h.n) return;
      this.selected = op;
      this.current = op;
      if (!this.marks.has(op)) {
        this.storyOnly = this.storyOnly && this.story.includes(op);
        this.start = windowStart(this.h, op);
        this.draw();
      }
      this.tab(op);
      this.tell(op);
      this.markSelected();
      this.center(op);
    }
  }

  function windowStart(h, op) {
    return Math.max(0, Math.min(h.n - WINDOW, op - WINDOW / 4));
  }

  /** Dragging moves the drawing; a click stays a click. */
  function draggable(scroll) {
    let from = null;
    scroll.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0) from = { x: event.clientX, left: scroll.scrollLeft };
    });
    scroll.addEventListener("pointermove", (event) => {
      if (!from || !(event.buttons & 1)) { from = null; return; }
      scroll.scrollLeft = from.left - (event.clientX - from.x);
    });
  }

  /** A drawing that was made narrow is made again when there is more room, and the other way. */
  function watchWidth(view) {
    if (typeof ResizeObserver === "undefined") return;
    let known = 0;
    new ResizeObserver(() => {
      const wide = view.container.clientWidth;
      if (known && wide && Math.abs(wide - known) > 40) view.draw();
      known = wide || known;
    }).observe(view.container);
  }
})();
