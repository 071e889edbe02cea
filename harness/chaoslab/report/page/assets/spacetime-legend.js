/*
 * The furniture of a space-time drawing: names of lanes, hatching, the bars of the map, and the marks
 * of the legend.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  /** How much happened when, over the whole history in true time, as bars in one path. */
  lab.densityPath = (h, span, wide, high) => {
    const buckets = new Float64Array(wide / 3);
    for (let i = 0; i < h.n; i++) {
      buckets[Math.min(buckets.length - 1, Math.floor((h.timeUs(i) / span) * buckets.length))]++;
    }
    const most = Math.log10(1 + Math.max(...buckets));
    let path = "";
    buckets.forEach((count, k) => {
      const bar = (Math.log10(1 + count) / most) * (high - 12);
      if (count) path += `M${k * 3} ${high}v${-Math.max(1, bar).toFixed(1)}h2.6V${high}z`;
    });
    return path;
  };

  /** Lines across a region that is away, so that it is seen without colour. */
  lab.hatching = (id) => {
    return lab.svg("defs", {}, lab.svg("pattern", {
      id, width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
    }, lab.svg("rect", { class: "hatch-ground", width: 8, height: 8 }),
    lab.svg("path", { class: "hatch-line", d: "M0 0V8" })));
  };

  /** The names of the lanes, on a ground of their own, to be kept in sight. */
  lab.laneNames = (plan) => {
    const group = lab.svg("g", { class: "lane-names", "aria-hidden": "true" },
      lab.svg("rect", { class: "lane-ground", x: 0, y: 0, width: plan.left - 4, height: plan.height }));
    for (const lane of plan.lanes) {
      const note = lab.laneNote(lane);
      group.append(
        lab.svg("text", { class: `lane-label lane-${lane.kind}`, x: 8, y: lane.y + (note ? 0 : 4) }, lab.short(lane.label, 18)));
      if (note) group.append(lab.svg("text", { class: "lane-note", x: 8, y: lane.y + 13 }, note));
    }
    return group;
  };

  const MARKS = {
    sent: () => lab.svg("circle", { class: "sent", cx: 11, cy: 9, r: 4.5 }),
    commit: () => lab.svg("circle", { class: "commit", cx: 11, cy: 9, r: 6 }),
    extra: () => lab.svg("g", {}, lab.svg("circle", { class: "commit", cx: 11, cy: 9, r: 4.5 }),
      lab.svg("circle", { class: "commit-extra", cx: 11, cy: 9, r: 7.5 })),
    strike: () => lab.svg("path", { class: "strike", d: "M13 0L5 11L10 11L8 18L17 7L12 7Z" }),
    unknown: () => lab.svg("g", {}, lab.svg("circle", { class: "unknown", cx: 11, cy: 9, r: 7.5 }),
      lab.svg("text", { class: "unknown-text", x: 11, y: 13.5, "text-anchor": "middle" }, "?")),
    refused: () => lab.svg("g", {}, lab.svg("circle", { class: "refused", cx: 11, cy: 9, r: 6.5 }),
      lab.svg("path", { class: "call-fail", d: "M7 9H15" })),
    crash: () => lab.svg("path", { class: "crash", d: "M5 3L17 15M5 15L17 3" }),
    again: () => lab.svg("path", { class: "absorbed", d: "M11 1l8 8l-8 8l-8 -8z" }),
    evidence: () => lab.svg("text", { class: "evidence-text", x: 11, y: 14, "text-anchor": "middle" }, "#"),
    flag: () => lab.svg("path", { class: "flag tone-plain", d: "M6 17V1L18 6L6 11" }),
    break: () => lab.svg("path", { class: "break", d: "M9 1V17M13 1V17" }),
  };

  /** A mark of the drawing, small, for the legend. */
  lab.legendMark = (name) => lab.svg("svg",
    { class: "st-legend-mark", width: 22, height: 18, viewBox: "0 0 22 18", "aria-hidden": "true" }, MARKS[name]());
})();
