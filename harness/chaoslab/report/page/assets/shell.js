/*
 * The shell of the page: how elements are made, how embedded data is unpacked, and what a reader can
 * do with the static part: filter, copy, open, print, share a link. It stands last in the file and
 * starts the rest. Whatever an agent said is only ever a text node here.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  const KEPT_MAX = 64;
  const UNSAFE = /^(on|style$|src|action$|formaction$|xlink)/i;
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

  /**
   * An element. Attributes: true is an empty one, null and false are left out, a function under
   * `onclick` and the like is a listener. Children: nodes, texts, lists of them, nothing.
   */
  lab.el = (tag, attrs, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attrs || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") {
        element.addEventListener(name.replace(/^on/, ""), value);
        continue;
      }
      if (UNSAFE.test(name)) throw new Error(`lab.el: attribute ${name} is not allowed`);
      if (name === "href" && !String(value).startsWith("#")) throw new Error("lab.el: href must be a #");
      element.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return element;
  };

  /** One of the four shapes: ok, bad, warn, none. */
  lab.icon = (look) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", `icon ${look}`);
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#i-${look}`);
    svg.append(use);
    return svg;
  };

  const kept = new Map();

  /** Embedded data by name, unpacked when it is first asked for. */
  lab.chunk = (name) => {
    const found = kept.get(name);
    if (found) return found;
    const made = unpack(name);
    kept.set(name, made);
    if (kept.size > KEPT_MAX) kept.delete(kept.keys().next().value);
    made.catch(() => kept.delete(name));
    return made;
  };

  /** Whether this page holds some data. */
  lab.holds = (name) => document.getElementById(`chunk-${name}`) !== null;

  async function unpack(name) {
    const holder = document.getElementById(`chunk-${name}`);
    if (!holder) throw new Error(`this file does not hold "${name}"`);
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser cannot unpack the data; any browser since 2023 can");
    }
    const plain = atob(holder.textContent.trim());
    const packed = new Uint8Array(plain.length);
    // A loop: for megabytes it is ten times as quick as a function for each letter.
    for (let i = 0; i < plain.length; i += 1) packed[i] = plain.charCodeAt(i);
    try {
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
      return JSON.parse(await new Response(stream).text());
    } catch (error) {
      throw new Error(`the data "${name}" in this file is damaged: ${error.message}`);
    }
  }

  /** Tells a screen reader what has changed. */
  lab.say = (text) => {
    const place = $("#said");
    place.textContent = "";
    setTimeout(() => { place.textContent = text; }, 30);
  };

  lab.copyButton = (text, label) =>
    lab.el("button", { type: "button", class: "copy", "aria-label": `Copy ${label}`,
      onclick: (event) => copy(text, event.currentTarget) }, "Copy");

  async function copy(text, button) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = copyByHand(text, button);
    }
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    lab.say(done ? "Copied" : "Could not copy; the text is selected, press Control C");
    setTimeout(() => { button.textContent = "Copy"; }, 1800);
  }

  function copyByHand(text, button) {
    const box = lab.el("textarea", { class: "visually-hidden", readonly: true }, text);
    button.parentNode.append(box);
    box.select();
    let done = false;
    try { done = document.execCommand("copy"); } catch { done = false; }
    box.remove();
    button.focus();
    const shown = $("pre", button.parentNode);
    if (!done && shown) getSelection().selectAllChildren(shown);
    return done;
  }

  function startCopying() {
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-copy]");
      if (button) copy(document.getElementById(button.dataset.copy).textContent.trimEnd(), button);
    });
  }

  // Light, dark, or as the system has it. Where nothing can be kept, it holds until the page closes.
  const THEMES = ["", "light", "dark"];
  const THEME_WORDS = { "": "auto", light: "light", dark: "dark" };

  function startTheme() {
    let theme = "";
    try { theme = localStorage.getItem("chaoslab-theme") || ""; } catch { theme = ""; }
    const show = () => {
      if (theme) document.documentElement.dataset.theme = theme;
      else delete document.documentElement.dataset.theme;
      $("#theme-word").textContent = THEME_WORDS[theme];
    };
    if (!THEMES.includes(theme)) theme = "";
    show();
    $("#theme").addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      try { localStorage.setItem("chaoslab-theme", theme); } catch { /* it holds for now */ }
      show();
      lab.say(`Theme: ${THEME_WORDS[theme]}`);
    });
  }

  function startPromises() {
    const buttons = $$("#promises [data-state][aria-pressed]");
    const choose = (state) => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.state === state));
      let shown = 0;
      for (const row of $$("#promises tr[data-state]")) {
        row.hidden = state !== "" && row.dataset.state !== state;
        if (!row.hidden) shown += 1;
      }
      for (const body of $$("#promises tbody")) body.hidden = !$("tr[data-state]:not([hidden])", body);
      lab.say(`${shown} promise${shown === 1 ? "" : "s"} shown`);
    };
    for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.state));
    for (const link of $$("[data-state-link]")) {
      link.addEventListener("click", () => {
        const button = buttons.find((b) => b.dataset.state === link.dataset.stateLink && !b.disabled);
        choose(button ? button.dataset.state : "");
      });
    }
  }

  // A bug's drawings are made when it is first opened: a page with sixty bugs opens at once.
  function startBugs() {
    const all = $$("details[data-bug]");
    for (const details of all) {
      details.addEventListener("toggle", () => {
        if (details.open && !printing) drawBug(details);
      });
      if (details.open) drawBug(details);
    }
    const button = $("#open-all");
    if (!button) return;
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-pressed") !== "true";
      for (const details of all) details.open = open;
      button.setAttribute("aria-pressed", String(open));
      button.textContent = open ? "Close all" : "Open all";
    });
  }

  async function drawBug(details) {
    if (details.dataset.drawn) return;
    details.dataset.drawn = "yes";
    const places = $$(".drawing", details);
    if (!places.length) return;
    let bug = null;
    try {
      bug = await lab.chunk(`bug-${details.dataset.bug}`);
    } catch (error) {
      for (const place of places) fail(place, error);
      return;
    }
    for (const place of places) await drawing(place, bug, details);
  }

  async function drawing(place, bug, details) {
    try {
      if (place.dataset.draw === "lineage") {
        const nodes = (bug.lineage && bug.lineage.nodes) || [];
        if (!nodes.length) {
          place.closest(".part").hidden = true;
          return;
        }
        need("lineage");
        empty(place);
        const history = lab.holds(`hist-${bug.run}-${bug.where}`)
          ? await lab.history(bug.run, bug.where) : null;
        const onSelect = history
          ? (i) => lab.showEntry($("[data-picked]", details), history, i) : undefined;
        lab.lineage(place, bug.lineage, { onSelect });
      } else {
        if (bug.run < 0 || !lab.holds(`hist-${bug.run}-${bug.where}`)) {
          return tell(place, "The history of this run is not in this file, to keep it small. Open the run's folder, or replay it.");
        }
        need("spaceTime");
        const history = await lab.history(bug.run, bug.where);
        empty(place);
        lab.spaceTime(place, history, { witness: bug.witness, focus: bug.focus,
          onSelect: (i) => lab.showEntry($("[data-picked]", details), history, i) });
      }
      place.classList.add("drawn");
      place.closest(".part").classList.add("is-drawn");
    } catch (error) {
      fail(place, error);
    }
  }

  function need(name) {
    if (typeof lab[name] !== "function") throw new Error("this page was made without that drawing");
  }

  const empty = (place) => place.replaceChildren();
  const tell = (place, text) => place.replaceChildren(lab.el("p", { class: "wait" }, text));
  const fail = (place, error) => tell(place, `It cannot be drawn: ${error.message}`);
  Object.assign(lab, { need, tell, fail });

  let picks = 0;
  /** What an entry carried, below a drawing. */
  lab.showEntry = async (place, history, i) => {
    if (!place || i === null || i === undefined || i < 0) return;
    const pick = ++picks;
    const value = await history.value(i).catch((error) => `not to be had: ${error.message}`);
    if (pick !== picks) return;
    const said = lab.sentence ? lab.sentence(history, i) : `#${i}`;
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 1);
    place.replaceChildren(lab.el("p", { class: "label" }, said),
      lab.el("pre", { class: "plain", tabindex: "0", role: "group", "aria-label": `What entry ${i} carried` }, lab.el("code", {}, text)));
  };

  let printing = false;
  function startPrinting() {
    let opened = [];
    addEventListener("beforeprint", () => {
      printing = true;
      opened = $$("main details:not([open])");
      for (const details of opened) details.open = true;
    });
    addEventListener("afterprint", () => {
      for (const details of opened) details.open = false;
      opened = [];
      printing = false;
    });
  }

  // A fragment names what is open: #run-12, #bug-3, #cell-7. So a link can be sent, and Back works.
  let fromHere = false;  // whether the run was opened from this page, so that Back leads out of it
  let leaving = false;

  function startRouting() {
    const sheet = $("#run-view");
    sheet.addEventListener("close", () => {
      if (!/^#run-\d+$/.test(location.hash)) return;
      if (fromHere) {
        leaving = true;
        history.back();
      } else {
        history.replaceState(null, "", "#runs");
      }
    });
    sheet.addEventListener("click", (event) => {
      if (event.target === sheet) sheet.close();
    });
    addEventListener("hashchange", () => {
      if (leaving) {
        leaving = false;
        return;
      }
      route(true);
    });
    route(false);
  }

  function route(moved) {
    const sheet = $("#run-view");
    const [, kind, number] = location.hash.match(/^#(run|bug|cell)-(\d+)$/) || [];
    if (kind === "run") {
      fromHere = moved;
      lab.openRun(sheet, Number(number));
      return;
    }
    if (sheet.open) sheet.close();
    if (kind === "bug") {
      const card = document.getElementById(`bug-${number}`);
      const details = card && $("details[data-bug]", card);
      if (details) details.open = true;
      if (card) card.scrollIntoView({ block: "start" });
      const summary = card && $("summary", card);
      if (summary) summary.focus({ preventScroll: true });
    }
    if (kind === "cell") lab.showCell(Number(number));
  }

  function start() {
    document.documentElement.classList.add("scripted");
    for (const part of [startTheme, startCopying, startPromises, startBugs, startPrinting]) part();
    lab.runList($("#run-list"));
    startRouting();
  }

  start();
})();
