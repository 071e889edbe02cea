/*
 * How SVG is made here: one function, fixed attribute names, text only as text nodes. What a history
 * says can so never become markup, and nothing needs an inline style.
 */
"use strict";
globalThis.lab = globalThis.lab || {};

(() => {
  const NS = "http://www.w3.org/2000/svg";
  const ALLOWED = new Set([
    "class", "id", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "d", "points", "width",
    "height", "viewBox", "preserveAspectRatio", "transform", "role", "tabindex", "aria-label",
    "aria-hidden", "aria-describedby", "aria-labelledby", "aria-pressed", "aria-roledescription",
    "text-anchor", "focusable", "patternUnits", "patternTransform", "fill", "data-op",
  ]);

  /**
   * An SVG element with attributes of the fixed list; texts among the children become text nodes.
   * @returns {SVGElement}
   */
  lab.svg = (tag, attrs, ...children) => {
    const element = document.createElementNS(NS, tag);
    for (const name of Object.keys(attrs || {})) {
      const value = attrs[name];
      if (value === null || value === undefined) continue;
      if (!ALLOWED.has(name)) throw new Error(`lab.svg: attribute ${name} is not in the list`);
      element.setAttribute(name, typeof value === "number" ? round(value) : String(value));
    }
    for (const child of children.flat()) {
      if (child === null || child === undefined) continue;
      element.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return element;
  };

  function round(x) {
    return String(Math.round(x * 10) / 10);
  }

  let pen = null;
  /** How wide a text will be, without laying it out. */
  lab.textWidth = (text, bold = false, size = 12) => {
    if (pen === null) pen = document.createElement("canvas").getContext("2d") || false;
    if (!pen) return text.length * size * 0.58;
    pen.font = `${bold ? "600 " : ""}${size}px system-ui, sans-serif`;
    return pen.measureText(text).width;
  };

  /** A line with an arrow's head at its end, as the text of a path. */
  lab.arrow = (x1, y1, x2, y2, size = 6) => {
    const turn = Math.atan2(y2 - y1, x2 - x1);
    const wing = (by) =>
      `${round(x2 - size * Math.cos(turn + by))} ${round(y2 - size * Math.sin(turn + by))}`;
    return `M${round(x1)} ${round(y1)}L${round(x2)} ${round(y2)}` +
      `M${wing(0.45)}L${round(x2)} ${round(y2)}L${wing(-0.45)}`;
  };

  /** A straight line as the text of a path. */
  lab.line = (x1, y1, x2, y2) => `M${round(x1)} ${round(y1)}L${round(x2)} ${round(y2)}`;

  let made = 0;
  /** An id that no other drawing of this page has. */
  lab.freshId = (prefix) => `${prefix}-${++made}`;

  /** Removes everything inside an element. */
  lab.clear = (element) => {
    while (element.firstChild) element.removeChild(element.firstChild);
  };
})();
