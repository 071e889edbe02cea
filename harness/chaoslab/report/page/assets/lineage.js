/*
 * The lineage of an action as a drawing: what was noted, under which key, tried how often, done how
 * often, kept where, and claimed by whom. One column a stage, one block an action. It shows at a
 * glance where a thread splits in two (another key, a second commit) or ends in nothing.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  const COLUMNS = [
    ["intent", "intent", "noted beforehand"], ["key", "key", "to know a repeat by"],
    ["try", "try", "requests sent"], ["commit", "commit", "lines of the ledger"],
    ["row", "memory row", "keeps the reference"], ["reply", "reply", "what was claimed"],
  ];
  const STAGES = new Set(COLUMNS.map(([type]) => type));
  const BOX = { wide: 150, high: 44, gap: 32, row: 70, none: 106 };
  const TOP = 50;

  // What an anomaly means, in one line.
  const KINDS = {
    "key-absent": "sent without a key",
    "key-changed": "a second key, while the request under the first may have happened",
    "key-reused": "one key for two different requests",
    "duplicate-by-marker": "done twice for one request",
    "orphan-effect": "done, though no request asked for it",
    "dangling-intent": "noted, then neither tried nor given up",
    "claimed-not-done": "claimed, but it does not stand",
    "done-not-claimed": "done, but the outcome leaves it out",
    absorbed: "the service recognised the repeat: nothing was done twice",
    compensated: "undone again",
  };
  // The same on the node itself.
  const BADGES = {
    "key-absent": "no key", "key-changed": "another key", "key-reused": "key used before",
    "duplicate-by-marker": "done twice", "orphan-effect": "nobody asked",
    "dangling-intent": "left open", "claimed-not-done": "not done",
    "done-not-claimed": "not claimed", absorbed: "recognised", compensated: "undone",
  };
  const ON = {
    "key-absent": ["try"], "key-changed": ["try", "key"], "key-reused": ["try", "key"],
    "duplicate-by-marker": ["commit"], "orphan-effect": ["commit"],
    "dangling-intent": ["intent"], "claimed-not-done": ["reply"],
    "done-not-claimed": ["commit", "reply"], absorbed: ["try"], compensated: ["commit"],
  };
  const EDGES = {
    "retry-of": ["edge edge-retry", "tries again"],
    "absorbed-by": ["edge edge-absorbed", "recognised as a repeat of"],
    compensates: ["edge edge-compensates", "undoes"],
  };

  /**
   * Draws a lineage graph (docs/reference/lineage.md) into a container.
   * @param {Element} container is emptied first
   * @param {{nodes: object[], edges: object[], anomalies: object[]}} graph
   * @param {{onSelect?: function(number)}} options is told the number of the chosen entry
   */
  lab.lineage = (container, graph, { onSelect = () => {} } = {}) => {
    lab.clear(container);
    const nodes = ((graph && graph.nodes) || []).filter((node) => STAGES.has(node.type));
    if (!nodes.length) {
      container.append(lab.el("p", { class: "ln-empty" },
        "There is no thread to draw: this failure is not about an action of a tool, or nothing of it was recorded."));
      return;
    }
    const plan = place(nodes, (graph.edges || []));
    plan.badges = badgesOf(nodes, graph.anomalies || []);
    const root = lab.svg("svg", {
      class: "ln-drawing", role: "group", focusable: "false", width: plan.width,
      height: plan.height, viewBox: `0 0 ${plan.width} ${plan.height}`,
      "aria-label": summary(nodes, graph.anomalies || []),
    });
    headings(root, plan);
    for (const edge of plan.edges) drawEdge(root, plan, edge);
    for (const node of nodes) root.append(drawNode(plan, node, onSelect));
    container.append(lab.el("div", { class: "ln" },
      lab.el("div", { class: "ln-scroll" }, root), anomalyList(graph.anomalies || [], onSelect)));
  };

  function summary(nodes, anomalies) {
    const parts = [["intent", "intent", "intents"], ["key", "key", "keys"], ["try", "try", "tries"],
      ["commit", "commit", "commits"], ["row", "memory row", "memory rows"], ["reply", "reply", "replies"]]
      .map(([type, one, many]) => {
        const n = nodes.filter((node) => node.type === type).length;
        return `${n} ${n === 1 ? one : many}`;
      });
    const kinds = [...new Set(anomalies.map((a) => KINDS[a.kind] || a.kind))];
    return `Lineage: ${parts.join(", ")}` +
      (kinds.length ? `. ${kinds.join("; ")}` : "");
  }

  /** The action of each node; a key, a row and a reply belong to the first action they touch. */
  function actions(nodes, edges) {
    const of = new Map();
    for (const node of nodes) {
      if (node.marker !== undefined) of.set(node.id, `${node.tool || ""} ${node.marker}`);
    }
    for (let round = 0; round < 3; round++) {
      for (const { from, to } of edges) {
        if (!of.has(to) && of.has(from)) of.set(to, of.get(from));
        else if (!of.has(from) && of.has(to)) of.set(from, of.get(to));
      }
    }
    return of;
  }

  function place(nodes, allEdges) {
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const edges = allEdges.filter((edge) => byId.has(edge.from) && byId.has(edge.to));
    const plan = { byId, edges, spots: new Map(), blocks: [], columns: new Map() };
    let x = 12;
    for (const [type] of COLUMNS) {
      const used = nodes.some((node) => node.type === type);
      plan.columns.set(type, { x, used });
      x += used ? BOX.wide + BOX.gap : BOX.none;
    }
    plan.width = x - (plan.columns.get("reply").used ? BOX.gap - 20 : 0);
    const action = actions(nodes, edges);
    const groups = new Map();
    for (const node of nodes) {
      const name = action.get(node.id) || "";
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(node);
    }
    let y = TOP;
    for (const [name, members] of groups) {
      plan.blocks.push({ name, y });
      y = block(plan, members, y + 30) + 14;
    }
    plan.height = y;
    return plan;
  }

  /** Each stage as near as it can be to the stage that it comes from; tries set the rows. */
  function block(plan, members, top) {
    const order = ["try", "key", "intent", "commit", "row", "reply"];
    let foot = top;
    for (const type of order) {
      let free = top;
      const wanted = members.filter((node) => node.type === type)
        .map((node, n) => ({ node, at: wish(plan, node, top + n * BOX.row) }))
        .sort((a, b) => a.at - b.at || a.node.op - b.node.op);
      for (const { node, at } of wanted) {
        const y = Math.max(free, at);
        plan.spots.set(node.id, { x: plan.columns.get(type).x, y });
        free = y + BOX.row;
        foot = Math.max(foot, free);
      }
    }
    return foot;
  }

  function wish(plan, node, otherwise) {
    if (node.type === "try") return otherwise;
    const near = plan.edges
      .filter((e) => (e.from === node.id || e.to === node.id) && e.type !== "absorbed-by")
      .map((e) => plan.spots.get(e.from === node.id ? e.to : e.from))
      .filter((spot) => spot && spot.x !== plan.columns.get(node.type).x)
      .map((spot) => spot.y);
    if (!near.length) return otherwise;
    if (node.type === "reply" || node.type === "row") return near[near.length - 1];
    return Math.min(...near);
  }

  function headings(root, plan) {
    for (const [type, word, note] of COLUMNS) {
      const { x, used } = plan.columns.get(type);
      root.append(
        lab.svg("text", { class: "ln-head", x, y: 20 }, word),
        lab.svg("text", { class: "ln-note", x, y: 35 }, used ? note : "none"));
    }
    for (const { name, y } of plan.blocks) {
      root.append(
        lab.svg("path", { class: "ln-rule", d: lab.line(8, y, plan.width - 8, y) }),
        lab.svg("text", { class: "ln-block", x: 12, y: y + 18 }, lab.short(name || "one action", 60)));
    }
  }

  function drawEdge(root, plan, { type, from, to }) {
    const a = plan.spots.get(from);
    const b = plan.spots.get(to);
    const [name, word] = EDGES[type] || ["edge", ""];
    const half = BOX.high / 2;
    if (a.x === b.x) { upwards(root, a, b, name, word); return; }
    const [x1, y1, x2, y2] = [a.x + BOX.wide, a.y + half, b.x - 2, b.y + half];
    const bend = Math.max(24, (x2 - x1) / 2);
    if (type === "commit-reply" && a.y === b.y && plan.columns.get("row").used) {
      // Over the memory row between them, which it has nothing to do with.
      root.append(lab.svg("path", {
        class: name, d: `M${x1} ${y1 - 12}Q${(x1 + x2) / 2} ${a.y - 30} ${x2} ${y2 - 12}M${x2 - 8} ${y2 - 14}L${x2} ${y2 - 12}L${x2 - 5} ${y2 - 19}`,
      }));
      return;
    }
    root.append(lab.svg("path", {
      class: name,
      d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}M${x2 - 7} ${y2 - 4}L${x2} ${y2}L${x2 - 7} ${y2 + 4}`,
    }));
    if (word) text(root, (x1 + x2) / 2, (y1 + y2) / 2 - 5, word, "middle", name);
  }

  /** From a later node to an earlier one of the same column: a bow on the left side. */
  function upwards(root, a, b, name, word) {
    const near = Math.abs(a.y - b.y) <= BOX.row + 1;
    const x = a.x + 14;
    if (near && a.y > b.y) {
      const [y1, y2] = [a.y, b.y + BOX.high + 2];
      root.append(lab.svg("path", { class: name, d: lab.arrow(x, y1, x, y2) }));
      text(root, x + 7, (y1 + y2) / 2 + 4, word, "start", name);
      return;
    }
    const [y1, y2, left] = [a.y + BOX.high / 2, b.y + BOX.high / 2, a.x - 30];
    root.append(lab.svg("path", {
      class: name,
      d: `M${a.x} ${y1}C${left} ${y1} ${left} ${y2} ${b.x - 2} ${y2}M${b.x - 9} ${y2 - 4}L${b.x - 2} ${y2}L${b.x - 9} ${y2 + 4}`,
    }));
    text(root, left + 8, (y1 + y2) / 2, word, "start", name);
  }

  function text(root, x, y, words, anchor, name) {
    root.append(lab.svg("text", { class: `ln-word ${name}-word`, x, y, "text-anchor": anchor }, words));
  }

  /** Which words stand on which node. */
  function badgesOf(nodes, anomalies) {
    const badges = new Map();
    for (const anomaly of anomalies) {
      const types = ON[anomaly.kind];
      const ops = new Set(anomaly.ops || []);
      const hit = nodes.filter((node) => ops.has(node.op) && (!types || types.includes(node.type)));
      if (anomaly.kind.startsWith("key-changed")) {
        const tries = hit.filter((node) => node.type === "try").sort((a, b) => a.op - b.op);
        for (const node of tries.slice(0, 1)) hit.splice(hit.indexOf(node), 1);
        const keys = hit.filter((node) => node.type === "key").sort((a, b) => a.op - b.op);
        for (const node of keys.slice(0, -1)) hit.splice(hit.indexOf(node), 1);
      }
      for (const node of hit) {
        const bad = !anomaly.legitimate;
        if (!badges.has(node.id) || bad) {
          badges.set(node.id, { bad, words: BADGES[anomaly.kind] || anomaly.kind });
        }
      }
    }
    standingTwice(nodes, badges);
    return badges;
  }

  /** Commits of one action that stand beside each other: both are ringed, "2×" says why. */
  function standingTwice(nodes, badges) {
    const standing = new Map();
    for (const node of nodes) {
      if (node.type !== "commit" || node.stands === false || node.marker === undefined) continue;
      const action = `${node.tool} ${node.marker}`;
      standing.set(action, [...(standing.get(action) || []), node]);
    }
    for (const group of standing.values()) {
      if (group.length < 2) continue;
      for (const node of group) {
        const known = badges.get(node.id);
        badges.set(node.id, { bad: known ? known.bad : false, words: `${group.length}×` });
      }
    }
  }

  function wordsOf(node) {
    const { short } = lab;
    const world = { happened: "it happened", "did-not-happen": "it did not happen" }[node.world];
    const ledger = { happened: "but done", "did-not-happen": "not done" }[node.world];
    switch (node.type) {
      case "intent": return [`#${node.op} will do ${short(node.tool || "", 12)}`, short(node.marker || "")];
      case "key": return ["", short(node.key || "", 15)];
      case "try": return [`#${node.op} by ${short(node.process || "", 13)}`,
        node.in_doubt ? `no answer, ${ledger || "undecided"}` : world || "undecided"];
      case "commit": return [`#${node.op} ${node.stands === false ? "undone" : "done"}`, short(node.ref || "", 19)];
      case "row": return [`#${node.op} stored`, short(node.item || "", 20)];
      default: return [`#${node.op} ${short(node.status || "outcome", 14)}`, short(node.task || "", 20)];
    }
  }

  function drawNode(plan, node, onSelect) {
    const { x, y } = plan.spots.get(node.id);
    const badge = plan.badges.get(node.id);
    const doubt = node.type === "try" && node.in_doubt;
    const [title, detail] = wordsOf(node);
    const states = [`node node-${node.type}`, badge && badge.bad ? "anomaly" : "",
      doubt ? "doubt" : "", node.stands === false ? "undone" : ""].filter(Boolean).join(" ");
    const g = lab.svg("g", {
      class: states, role: "button", tabindex: "0", "data-op": node.op,
      "aria-label": `${node.type} ${title} ${detail}${doubt ? ", in doubt" : ""}${badge ? `, ${badge.words}` : ""}`,
    }, lab.svg("rect", { class: "ln-box", x, y, width: BOX.wide, height: BOX.high, rx: node.type === "key" ? 22 : 6 }),
    lab.svg("text", { class: "ln-title", x: x + 11, y: y + (title ? 18 : 0) }, title),
    lab.svg("text", { class: title ? "ln-detail" : "ln-title", x: x + (title ? 11 : 16), y: y + (title ? 34 : 27) }, detail));
    if (badge && badge.bad && node.type === "commit") {
      g.append(lab.svg("rect", { class: "ln-ring", x: x - 5, y: y - 5, width: BOX.wide + 10, height: BOX.high + 10, rx: 10 }));
    }
    if (doubt) g.append(...sticker(x - 9, y - 1, "?", "doubt"));
    if (badge) g.append(...sticker(x + BOX.wide - 6, y - 1, badge.words, badge.bad ? "bad" : "fine"));
    const choose = () => onSelect(node.op);
    g.addEventListener("click", choose);
    g.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    });
    return g;
  }

  /** A small word on the corner of a node, its right end at x. */
  function sticker(x, y, words, tone) {
    const wide = lab.textWidth(words, true, 11) + 12;
    const left = tone === "doubt" ? x : x - wide + 12;
    return [
      lab.svg("rect", { class: `ln-sticker sticker-${tone}`, x: left, y: y - 9, width: wide, height: 18, rx: 9 }),
      lab.svg("text", { class: `ln-sticker-text sticker-${tone}-text`, x: left + wide / 2, y: y + 4, "text-anchor": "middle" }, words),
    ];
  }

  function anomalyList(anomalies, onSelect) {
    if (!anomalies.length) return null;
    const items = anomalies.map((anomaly) => {
      const about = [anomaly.tool, anomaly.marker].filter(Boolean).join(" ");
      const links = (anomaly.ops || []).slice(0, 12).map((op) => {
        const link = lab.el("button", { type: "button", class: "ln-op" }, `#${op}`);
        link.addEventListener("click", () => onSelect(op));
        return link;
      });
      return lab.el("li", { class: anomaly.legitimate ? "ln-fine" : "ln-bad" },
        lab.el("strong", {}, `${anomaly.legitimate ? "✓" : "✕"} ${KINDS[anomaly.kind] || anomaly.kind}`),
        lab.el("span", { class: "ln-about" }, ` ${lab.short(about, 60)} (${anomaly.kind}${anomaly.legitimate ? ", breaks no promise" : ""}) `),
        ...links);
    });
    return lab.el("ul", { class: "ln-anomalies" }, items);
  }
})();
