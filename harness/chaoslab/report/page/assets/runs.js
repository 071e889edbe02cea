/*
 * The list of all runs, a hundred at a time, and one run over the page. Ten thousand rows are
 * filtered and sorted as numbers; only the hundred that are looked at become elements.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  const PAGE = 100;
  const DETAILS_BLOCK = 250;
  const LOOKS = {
    held: "ok", "bug found": "ok", broken: "bad", "BUG MISSED": "bad", "could not run": "bad",
    "not repeatable": "bad", unproven: "warn", known: "warn",
  };
  const look = (word) => LOOKS[word] || "none";
  const chip = (word, as = look(word)) => lab.el("span", { class: `chip ${as}` }, lab.icon(as), word);
  const time = (ms) => (ms === null || ms === undefined ? "–"
    : ms < 10000 ? `${(ms / 1000).toFixed(2)} s` : `${(ms / 1000).toFixed(1)} s`);
  const count = (n) => n.toLocaleString("en-US");
  const runsWord = (n) => `${count(n)} ${n === 1 ? "run" : "runs"}`;
  const shortAgent = (name) => (name.endsWith(".toml") ? name
    : name.replace(/:[^:]*$/, "").replace(/^.*\//, "").replace(/\.py$/, ""));

  /** The chunk `runs` as objects that know the names behind the numbers. */
  async function load() {
    const raw = await lab.chunk("runs");
    const at = Object.fromEntries(raw.columns.map((name, i) => [name, i]));
    return { raw, at, get: (row, name) => row[at[name]],
      scenario: (row) => raw.scenarios[row[at.scenario]],
      agent: (row) => raw.agents[row[at.agent]] };
  }

  // What a bug is called, read off the cards of this page.
  function bugName(fingerprint) {
    const card = document.querySelector(`[data-fingerprint="${CSS.escape(fingerprint)}"]`);
    return card ? card.dataset.name : "";
  }

  const COLUMNS = [
    { id: "n", name: "Run", num: true },
    { id: "scenario", name: "Scenario" },
    { id: "agent", name: "Agent", many: true },
    { id: "seed", name: "Seed", num: true },
    { id: "word", name: "Verdict" },
    { id: "fired", name: "Faults", num: true, title: "planned / eligible / struck" },
    { id: "tries", name: "Tries", num: true, title: "at most, of one action" },
    { id: "recovery_ms", name: "Recovery", num: true },
    { id: "entries", name: "Entries", num: true },
    { id: "wall_ms", name: "Took", num: true },
    { id: "why", name: "What" },
  ];

  let list = null;

  /** Fills the section of the run list. */
  lab.runList = async (place) => {
    let data = null;
    try {
      data = await load();
    } catch (error) {
      lab.tell(place, `The list of runs cannot be shown: ${error.message}`);
      return;
    }
    list = new RunList(place, data);
    if (waiting !== null) list.only(waiting);
  };

  let waiting = null;
  /** Shows the runs behind a cell of the matrix. */
  lab.showCell = (number) => {
    waiting = number;
    if (list) list.only(number);
  };

  class RunList {
    constructor(place, data) {
      this.data = data;
      this.sort = { id: "n", down: false };
      this.page = 0;
      this.cell = null;
      this.texts = data.raw.rows.map((row) => [data.get(row, "n"), data.scenario(row), data.agent(row),
        data.get(row, "word"), `seed ${data.get(row, "seed")}`, data.get(row, "why"), data.get(row, "folder"),
        ...data.get(row, "bugs").map((b) => `${data.raw.fingerprints[b]} ${bugName(data.raw.fingerprints[b])}`)]
        .join(" ").toLowerCase());
      this.columns = COLUMNS.filter((c) => !c.many || data.raw.agents.length > 1);
      this.build(place);
      this.update(false);
    }

    build(place) {
      const { raw, at } = this.data;
      const again = () => { this.page = 0; this.update(true); };
      const options = (all, names, word = (x) => x) => [lab.el("option", { value: "" }, all),
        ...names.map((name, i) => lab.el("option", { value: i }, word(name)))];
      this.words = [...new Set(raw.rows.map((row) => row[at.word]))].sort();
      this.text = lab.el("input", { type: "search", id: "run-text", placeholder: "scenario, seed 3, check, fingerprint …", oninput: again });
      this.word = lab.el("select", { onchange: again }, options("any", this.words));
      this.scenario = lab.el("select", { onchange: again }, options("any", raw.scenarios));
      this.note = lab.el("div", { class: "picked-cell", hidden: true });
      this.head = lab.el("tr", {});
      this.body = lab.el("tbody", {});
      this.foot = lab.el("div", { class: "pager" });
      const label = (name, input, extra = "") => lab.el("label", { class: extra }, name, input);
      place.replaceChildren(
        lab.el("div", { class: "filters run-filters", role: "search", "aria-label": "Runs" },
          label("Find", this.text, "grow"), label("Verdict", this.word), label("Scenario", this.scenario)),
        this.note,
        lab.el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Runs" },
          lab.el("table", { class: this.columns.some((c) => c.many) ? "run-table many" : "run-table" }, lab.el("caption", { class: "visually-hidden" }, "Runs"),
            lab.el("thead", {}, this.head), this.body)),
        this.foot);
      for (const column of this.columns) this.head.append(this.heading(column));
    }

    heading(column) {
      const button = lab.el("button", { type: "button", title: column.title || null, onclick: () => {
        this.sort = { id: column.id, down: this.sort.id === column.id ? !this.sort.down : false };
        this.page = 0;
        this.update(true);
      } }, column.name, lab.el("span", { "aria-hidden": "true" }));
      return lab.el("th", { scope: "col", class: column.num ? "num" : null, "data-column": column.id }, button);
    }

    async only(number) {
      try {
        const cells = await lab.chunk("cells");
        this.cell = { number, runs: new Set(cells[number] || []) };
      } catch (error) {
        lab.say(error.message);
        return;
      }
      for (const one of document.querySelectorAll(".cell[aria-current]")) one.removeAttribute("aria-current");
      const link = document.querySelector(`a.cell[href="#cell-${number}"]`);
      if (link) link.setAttribute("aria-current", "true");
      const row = link && link.closest("tr").dataset.row;
      this.note.replaceChildren(lab.el("span", {}, "Runs of ", lab.el("b", {}, row || "one cell"), ", ", link ? link.title : ""),
        lab.el("button", { type: "button", onclick: () => this.all() }, "Show all runs"));
      this.note.hidden = false;
      this.text.value = "";
      this.word.value = "";
      this.scenario.value = "";
      this.page = 0;
      this.update(true);
      document.getElementById("runs").scrollIntoView({ block: "start" });
      this.text.focus({ preventScroll: true });
    }

    all() {
      this.cell = null;
      this.note.hidden = true;
      for (const one of document.querySelectorAll(".cell[aria-current]")) one.removeAttribute("aria-current");
      if (location.hash.startsWith("#cell-")) history.replaceState(null, "", "#runs");
      this.page = 0;
      this.update(true);
      this.text.focus();
    }

    found() {
      const { raw, at } = this.data;
      const wanted = this.text.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      const word = this.word.value === "" ? null : this.words[Number(this.word.value)];
      const scenario = this.scenario.value === "" ? null : Number(this.scenario.value);
      const out = [];
      for (let i = 0; i < raw.rows.length; i += 1) {
        const row = raw.rows[i];
        if (word !== null && row[at.word] !== word) continue;
        if (scenario !== null && row[at.scenario] !== scenario) continue;
        if (this.cell && !this.cell.runs.has(row[at.n])) continue;
        if (wanted.length && !wanted.every((w) => this.texts[i].includes(w))) continue;
        out.push(i);
      }
      return this.sorted(out);
    }

    sorted(indexes) {
      const { raw, at } = this.data;
      const column = at[this.sort.id];
      const sign = this.sort.down ? -1 : 1;
      const names = { scenario: raw.scenarios, agent: raw.agents }[this.sort.id];
      const key = (i) => (names ? names[raw.rows[i][column]] : raw.rows[i][column]);
      return indexes.sort((a, b) => {
        const x = key(a);
        const y = key(b);
        if (x === y) return a - b;
        if (x === null) return 1;
        if (y === null) return -1;
        return x < y ? -sign : sign;
      });
    }

    update(aloud) {
      const found = this.found();
      const pages = Math.max(1, Math.ceil(found.length / PAGE));
      this.page = Math.min(this.page, pages - 1);
      const shown = found.slice(this.page * PAGE, (this.page + 1) * PAGE);
      this.body.replaceChildren(...shown.map((i) => this.row(this.data.raw.rows[i])));
      if (!shown.length) {
        this.body.append(lab.el("tr", {}, lab.el("td", { colspan: this.columns.length, class: "muted" }, "No run is like that.")));
      }
      for (const th of this.head.children) {
        const mine = th.dataset.column === this.sort.id;
        if (mine) th.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
        else th.removeAttribute("aria-sort");
        th.querySelector("span").textContent = mine ? (this.sort.down ? " ↓" : " ↑") : "";
      }
      this.pager(found.length, pages, shown.length);
      if (aloud) lab.say(`${runsWord(found.length)} of ${count(this.data.raw.rows.length)}`);
    }

    pager(total, pages, here) {
      const go = (to, name) => {
        this.page = to;
        this.update(true);
        const button = [...this.foot.querySelectorAll("button")].find((b) => b.textContent === name && !b.disabled);
        (button || this.foot.querySelector("button:not(:disabled)") || this.text).focus();
      };
      const from = this.page * PAGE;
      const words = total ? `${count(from + 1)} to ${count(from + here)} of ${runsWord(total)}` : "0 runs";
      const all = this.data.raw.rows.length;
      this.foot.replaceChildren(lab.el("span", { class: "muted" }, pages > 1 ? words : runsWord(total), total < all ? ` (of ${count(all)})` : ""));
      if (pages < 2) return;
      this.foot.append(
        lab.el("button", { type: "button", disabled: this.page === 0, onclick: () => go(this.page - 1, "Previous") }, "Previous"),
        lab.el("button", { type: "button", disabled: this.page >= pages - 1, onclick: () => go(this.page + 1, "Next") }, "Next"));
    }

    row(row) {
      const { raw, get, scenario, agent } = this.data;
      const n = get(row, "n");
      const bugs = get(row, "bugs");
      const named = bugs.length ? bugName(raw.fingerprints[bugs[0]]) : "";
      const what = (named || get(row, "why")) + (bugs.length > 1 ? ` (and ${bugs.length - 1} more)` : "");
      const cells = {
        n: null,
        scenario: scenario(row),
        agent: shortAgent(agent(row)),
        seed: get(row, "seed"),
        word: chip(get(row, "word")),
        fired: `${get(row, "planned")} / ${get(row, "eligible")} / ${get(row, "fired")}`,
        tries: get(row, "tries"),
        recovery_ms: time(get(row, "recovery_ms")),
        entries: count(get(row, "entries")),
        wall_ms: time(get(row, "wall_ms")),
        why: what,
      };
      const link = lab.el("a", { href: `#run-${n}`, "aria-label": `Run ${n}: ${scenario(row)}, seed ${get(row, "seed")}, ${get(row, "word")}` }, n);
      return lab.el("tr", {}, this.columns.map((c) => (c.id === "n"
        ? lab.el("th", { scope: "row", class: "num" }, link)
        : lab.el("td", { class: c.num ? "num" : null }, cells[c.id]))));
    }
  }

  let asked = 0;
  /** Opens one run over the page. */
  lab.openRun = async (sheet, n) => {
    const mine = ++asked;
    const body = lab.el("div", { class: "sheet-body" }, lab.el("p", { class: "wait" }, "Loading the run…"));
    sheet.replaceChildren(head(sheet, `Run ${n}`, null, ""), body);
    if (!sheet.open) sheet.showModal();
    sheet.scrollTop = 0;
    try {
      const data = await load();
      const row = data.raw.rows.find((one) => data.get(one, "n") === n);
      if (mine !== asked) return;
      if (!row) throw new Error(`there is no run ${n} in this campaign`);
      const title = `${data.scenario(row)}, seed ${data.get(row, "seed")}`;
      sheet.firstChild.replaceWith(head(sheet, title, data.get(row, "word"), `Run ${n} · ${data.agent(row)}`));
      sheet.querySelector("button").focus();
      body.replaceChildren(facts(data, row));
      const run = await details(n);
      if (!run) {
        body.append(left(data, row));
        return;
      }
      if (mine === asked) body.append(...parts(run, n));
    } catch (error) {
      lab.tell(body, `The run cannot be shown: ${error.message}`);
    }
  };

  /** What this file says of a run: drawn runs have a part of their own, the others share theirs. */
  async function details(n) {
    if (lab.holds(`run-${n}`)) return lab.chunk(`run-${n}`);
    const block = `details-${Math.floor(n / DETAILS_BLOCK)}`;
    return lab.holds(block) ? (await lab.chunk(block))[n] : undefined;
  }

  function head(sheet, title, word, line) {
    return lab.el("header", { class: "sheet-head" },
      lab.el("div", {}, lab.el("h2", { id: "run-title" }, title), lab.el("p", { class: "small muted" }, word && chip(word), " ", line)),
      lab.el("button", { type: "button", class: "quiet", onclick: () => sheet.close() }, "Close"));
  }

  function facts(data, row) {
    const get = (name) => data.get(row, name);
    const pairs = [
      ["Faults planned / eligible / struck", `${get("planned")} / ${get("eligible")} / ${get("fired")}`],
      ["Tries of one action, at most", get("tries")], ["Recovery", time(get("recovery_ms"))],
      ["Entries", count(get("entries"))], ["Took", time(get("wall_ms"))], ["Folder", get("folder")],
    ];
    return lab.el("dl", { class: "facts" }, pairs.map(([name, value]) =>
      lab.el("div", {}, lab.el("dt", {}, name), lab.el("dd", {}, value))));
  }

  function left(data, row) {
    const why = data.get(row, "why");
    return lab.el("div", {}, why && lab.el("p", {}, why),
      lab.el("p", { class: "note" }, "The record of this run is not in this file, to keep it small. It stands in the folder ",
        lab.el("code", {}, data.get(row, "folder")), " of the campaign."));
  }

  const section = (name, ...children) => lab.el("section", {}, lab.el("h3", {}, name), ...children);
  const plain = (text, label) => lab.el("pre", { class: "plain", tabindex: "0", role: "group", "aria-label": label }, lab.el("code", {}, text));

  function parts(run, n) {
    const out = [];
    if (run.why && !run.violations.length) out.push(lab.el("p", { class: "run-why" }, run.why));
    if (run.differs && run.violations.length) out.push(lab.el("p", { class: "run-why" }, chip("not repeatable"), ` ${run.differs}`));
    if (run.violations.length) out.push(section("What is broken", run.violations.map((one, i) => violation(one, i === 0)),
      run.violations_left_out ? lab.el("p", { class: "note" }, `${count(run.violations_left_out)} more stand in results.json.`) : null));
    out.push(section("See it again", lab.el("div", { class: "code" }, lab.copyButton(run.replay, "the replay command"),
      lab.el("pre", { tabindex: "0", role: "group", "aria-label": "Replay command" }, lab.el("code", {}, run.replay)))));
    out.push(record(run, n));
    if (run.checks.length) out.push(checks(run.checks));
    if (run.faults && Object.keys(run.faults).length > 3) out.push(section("Faults", plain(JSON.stringify(run.faults, null, 1), "Faults")));
    if (run.notes && run.notes.length) out.push(section("Notes of the agent", run.notes.map((note) => plain(note, "Note"))));
    return out;
  }

  function violation(one, open) {
    const lines = (one.because || []).map((line) => String(line).replace(/^ {2}/, ""));
    return lab.el("div", { class: "violation" },
      lab.el("p", {}, one.warning ? chip("warning only", "none") : null, " ", lab.el("code", { class: "check" }, one.check), ` ${one.code} `, lab.el("code", { class: "muted" }, one.fingerprint)),
      lab.el("p", {}, lab.el("b", {}, one.explanation)),
      one.where === "fault" ? null : lab.el("p", { class: "small muted" }, one.where === "control" ? "Already without any fault." : `In ${one.where}.`),
      lines.length ? lab.el("details", { class: "inner", open }, lab.el("summary", {}, "How it happened"),
        plain(lines.join("\n"), "How it happened")) : null);
  }

  function checks(rows) {
    const order = ["broken", "unproven", "held"];
    const rank = (word) => (order.includes(word) ? order.indexOf(word) : order.length);
    const sorted = rows.map((row, i) => [row, i]).sort((a, b) => rank(a[0][1]) - rank(b[0][1]) || a[1] - b[1]);
    const tr = ([[id, word, reason]]) => lab.el("tr", {}, lab.el("th", { scope: "row" }, lab.el("code", { class: "check" }, id)),
      lab.el("td", {}, chip(word)), lab.el("td", {}, reason));
    return section("Checks", lab.el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Checks" },
      lab.el("table", {}, lab.el("caption", { class: "visually-hidden" }, "Checks of this run"),
        lab.el("thead", {}, lab.el("tr", {}, ["Check", "Verdict", "What was looked at"].map((name) => lab.el("th", { scope: "col" }, name)))),
        lab.el("tbody", {}, sorted.map(tr)))));
  }

  const WHERES = { fault: "with faults", control: "fault-free" };
  const whereWord = (where) => WHERES[where] || where.replace("-", " ");

  function record(run, n) {
    const drawing = lab.el("div", { class: "drawing" });
    const entries = lab.el("div", { class: "entries-place" });
    const held = run.histories.filter((where) => lab.holds(`hist-${n}-${where}`));
    const buttons = held.map((where) => lab.el("button", { type: "button", "aria-pressed": "false", onclick: () => show(where) }, whereWord(where)));
    let asked = 0;
    async function show(where) {
      const mine = ++asked;
      held.forEach((one, i) => buttons[i].setAttribute("aria-pressed", String(one === where)));
      const witness = [...new Set(run.violations.filter((v) => v.where === where).flatMap((v) => v.witness))].sort((a, b) => a - b);
      drawing.classList.remove("drawn");
      lab.tell(drawing, "Drawing…");
      entries.replaceChildren();
      try {
        const history = await lab.history(n, where);
        if (mine !== asked) return;
        lab.need("spaceTime");
        drawing.replaceChildren();
        drawing.classList.add("drawn");
        let rows = null;
        let picture = null;
        let told = false;  // so that the two do not tell each other for ever
        const tell = (whom, i) => {
          if (told || !whom || typeof whom.select !== "function") return;
          told = true;
          try { whom.select(i); } finally { told = false; }
        };
        picture = lab.spaceTime(drawing, history, { witness, focus: witness, onSelect: (i) => tell(rows, i) });
        lab.need("entries");
        rows = lab.entries(entries, history, { witness, onSelect: (i) => tell(picture, i) });
      } catch (error) {
        if (mine === asked) lab.fail(drawing, error);
      }
    }
    if (!held.length) return section("The record", lab.el("p", { class: "note" }, `Not in this file: ${run.left_out || "its histories"}.`));
    const part = section("The record", held.length > 1 && lab.el("div", { class: "histories", role: "group", "aria-label": "Which history" }, buttons),
      drawing, lab.el("h4", {}, "Every entry"), entries);
    show(held[0]);
    if (run.left_out) part.append(lab.el("p", { class: "note" }, `Not in this file: ${run.left_out}.`));
    return part;
  }
})();
