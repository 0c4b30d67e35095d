"use strict";
// What a person can do with the page. Python has drawn every figure already (see _figures.py and
// _svg.py): without this script the page is whole, and still. The script draws the same figures
// again when something about them is chosen, from the numbers in the element "data".
// Texts reach the page as text nodes and attributes alone, so none of them can become markup.
// `page` is what the script of a live page uses of it (watch.html.j2).
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const number = (value) => {
    const short = Number(value.toPrecision(4));
    return short !== 0 && Math.abs(short) < 1e-4 ? short.toExponential() : String(short);
  };
  const percent = (value) => `${Number((100 * value).toPrecision(4))} %`;
  const rounded = (value, digits = 3) => Number(value.toPrecision(digits));
  const count = (value) => {
    for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(value) >= size) return rounded(value / size, 4) + letter;
    }
    return String(rounded(value, 4));
  };

  // --- Charts: the same measures as in _svg.py ---------------------------------------------

  const WIDTH = 400, HEIGHT = 250, LEFT = 46, RIGHT = 14, NAMED_RIGHT = 92, TOP = 26, BOTTOM = 36;

  function element(tag, attributes = {}, text = "") {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  }

  class Axis {
    constructor(low, high, { log = false, label = "", write = number } = {}) {
      Object.assign(this, { low, high, log, label, write });
    }
    share(value) {
      const at = this.log ? Math.log : (x) => x;
      const found = (at(value) - at(this.low)) / (at(this.high) - at(this.low) || 1);
      return Number.isNaN(found) ? -4 : clamp(found, -4, 4);
    }
    at(share) {
      if (!this.log) return this.low + share * (this.high - this.low);
      return this.low * (this.high / this.low) ** share;
    }
    ticks(most = 6) {
      if (this.log) {
        const first = Math.ceil(Math.log10(this.low) - 1e-9);
        const last = Math.floor(Math.log10(this.high) + 1e-9);
        const found = [];
        if (last - first >= 2) {
          const every = Math.ceil((last - first + 1) / most);
          for (let power = first; power <= last; power += every) found.push(10 ** power);
          return found;
        }
        for (let power = first - 1; power <= last; power++) {
          for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
        }
        return found.filter((tick) => this.low <= tick && tick <= this.high).slice(0, most);
      }
      const least = (this.high - this.low) / Math.max(most - 1, 1) || 1;
      const power = 10 ** Math.floor(Math.log10(least));
      const step = power * [1, 2, 2.5, 5, 10].find((digit) => digit * power >= least * (1 - 1e-9));
      const found = [];
      for (let i = Math.ceil(this.low / step - 1e-9); i * step <= this.high * (1 + 1e-9); i++) {
        found.push(rounded(step * i, 12));
      }
      return found;
    }
  }

  class Chart {
    constructor(x, y, title, alt, { right = RIGHT, role = "img" } = {}) {
      this.x = x;
      this.y = y;
      this.wide = WIDTH - LEFT - right;
      this.high = HEIGHT - TOP - BOTTOM;
      this.svg = element("svg", {
        class: "chart", role, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-label": alt,
        "font-size": 11, "font-family": "system-ui, sans-serif", fill: "currentColor",
      });
      // An inner <svg> cuts off what leaves the axes.
      const place = { x: LEFT, y: TOP, width: this.wide, height: this.high };
      this.inside = element("svg", place);
      this.svg.append(this.inside);
      this.text(LEFT - 38, 14, title, { "font-weight": 600 });
      this.#axes();
    }
    #axes() {
      const grid = "stroke:var(--grid)", foot = TOP + this.high;
      for (const tick of this.x.ticks()) {
        const x = this.x.share(tick) * this.wide;
        this.draw("line", { x1: x, x2: x, y1: 0, y2: this.high, style: grid });
        this.text(LEFT + x, foot + 14, this.x.write(tick), { "text-anchor": "middle" });
      }
      for (const tick of this.y.ticks()) {
        const y = this.up(tick);
        this.draw("line", { x1: 0, x2: this.wide, y1: y, y2: y, style: grid });
        this.text(LEFT - 5, TOP + y + 4, this.y.write(tick), { "text-anchor": "end" });
      }
      const frame = { d: `M0,0V${this.high}H${this.wide}`, style: "fill:none;stroke:var(--faint)" };
      this.draw("path", frame);
      this.text(LEFT + this.wide / 2, foot + 30, this.x.label, { "text-anchor": "middle" });
    }
    draw(tag, attributes, text) {
      const made = element(tag, attributes, text);
      this.inside.append(made);
      return made;
    }
    text(x, y, words, attributes = {}) {
      this.svg.append(element("text", { x, y, ...attributes }, words));
    }
    across(value) { return this.x.share(value) * this.wide; }
    up(value) { return (1 - this.y.share(value)) * this.high; }
    points(xs, ys) {
      return xs.map((x, i) => `${this.across(x).toFixed(1)},${this.up(ys[i]).toFixed(1)}`);
    }
    line(xs, ys, color, { width = 1.8, dash = "", opacity = 1 } = {}) {
      const style = `fill:none;stroke:${color};stroke-width:${width};stroke-opacity:${opacity};` +
        `stroke-linejoin:round;stroke-dasharray:${dash || "none"}`;
      this.draw("polyline", { points: this.points(xs, ys).join(" "), style });
    }
    band(xs, lows, highs, color, opacity = 0.2) {
      const back = this.points(xs, lows).reverse();
      const points = [...this.points(xs, highs), ...back].join(" ");
      this.draw("polygon", { points, style: `fill:${color};fill-opacity:${opacity};stroke:none` });
    }
    dots(xs, ys, color, radius = 2, opacity = 1) {
      const d = this.points(xs, ys).map((place) => `M${place}h0`).join("");
      const style = `fill:none;stroke:${color};stroke-width:${2 * radius};` +
        `stroke-linecap:round;stroke-opacity:${opacity}`;
      this.draw("path", { d, style });
    }
    cross(x, y, color) {
      const up = clamp(this.up(y), 5, this.high - 5);
      const d = `M${this.across(x) - 4},${up - 4}l8,8m-8,0l8,-8`;
      this.draw("path", { d, style: `fill:none;stroke:${color};stroke-width:2` });
    }
    level(y, color) {
      const at = { x1: 0, x2: this.wide, y1: this.up(y), y2: this.up(y) };
      this.draw("line", { ...at, style: `stroke:${color};stroke-width:1.2;stroke-dasharray:4 3` });
    }
    // Names at the right, each beside its line's end, moved down and up again until none overlap.
    names(ends) {
      const gap = 14, sorted = ends.map((end) => ({ ...end, y: clamp(this.up(end.end), 0, this.high) }));
      sorted.sort((a, b) => a.y - b.y);
      sorted.forEach((one, i) => { if (i) one.y = Math.max(one.y, sorted[i - 1].y + gap); });
      let ceiling = this.high;
      for (const one of sorted.reverse()) {
        one.y = Math.min(one.y, ceiling);
        ceiling = one.y - gap;
        const x = LEFT + this.wide, y = TOP + one.y;
        const style = `stroke:${one.color};stroke-width:2;stroke-dasharray:${one.dash || "none"}`;
        this.svg.append(element("line", { x1: x + 4, x2: x + 18, y1: y, y2: y, style }));
        this.text(x + 21, y + 4, one.name);
      }
    }
    show(figure) { figure.querySelector(".draw").replaceChildren(this.svg); }
  }

  // --- Tables, and files to keep -----------------------------------------------------------

  function fillTable(figure, heads, rows) {
    const table = figure.querySelector("table");
    const cell = (tag, text, scope) => {
      const made = document.createElement(tag);
      if (scope) made.scope = scope;
      made.textContent = text;
      return made;
    };
    const line = (cells) => {
      const made = document.createElement("tr");
      made.append(...cells);
      return made;
    };
    table.tHead.replaceChildren(line(heads.map((head) => cell("th", head, "col"))));
    table.tBodies[0].replaceChildren(...rows.map(([first, ...rest]) => line(
      [cell("th", first, "row"), ...rest.map((text) => cell("td", text))])));
  }

  // A spreadsheet takes a text that begins like a formula for one: it is given a quote in front.
  const field = (value) => {
    const text = typeof value === "string" && /^[=+\-@\t]/.test(value) && Number.isNaN(Number(value))
      ? `'${value}` : String(value ?? "");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (rows) => rows.map((row) => row.map(field).join(",")).join("\n") + "\n";

  function save(content, type, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // A figure as a file of its own: its charts one below the other, the colours of now put in.
  function picture(figure) {
    const root = getComputedStyle(document.documentElement);
    const charts = [...figure.querySelectorAll(".draw > svg")].map((svg) => svg.cloneNode(true));
    let height = 0;
    for (const chart of charts) {
      const size = chart.viewBox.baseVal.height;
      for (const [name, value] of Object.entries({ y: height, width: WIDTH, height: size })) {
        chart.setAttribute(name, value);
      }
      height += size;
    }
    const whole = element("svg", {
      xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${WIDTH} ${height}`,
      width: 2 * WIDTH, height: 2 * height, style: "color:var(--ink)",
    });
    whole.append(element("rect", { width: WIDTH, height, style: "fill:var(--paper)" }), ...charts);
    const text = new XMLSerializer().serializeToString(whole)
      .replace(/var\((--[\w-]+)\)/g, (_, name) => root.getPropertyValue(name).trim());
    return { text, width: 2 * WIDTH, height: 2 * height };
  }

  function savePng(figure, name) {
    const { text, width, height } = picture(figure);
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width, height });
      canvas.getContext("2d").drawImage(image, 0, 0);
      canvas.toBlob((blob) => save(blob, "image/png", name));
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  }

  const numbersOf = {}; // by figure: a function that gives all its numbers, where the table has some
  const tableRows = (table) => [...table.rows].map((row) =>
    [...row.cells].map((cell) => cell.dataset.value ?? cell.innerText.replace(/\s+/g, " ").trim()));

  function offerFiles(figure) {
    const name = figure.dataset.figure, title = figure.dataset.title;
    const rows = () => (numbersOf[name] ?? (() => tableRows(figure.querySelector("table"))))();
    const kinds = {
      SVG: () => save(picture(figure).text, "image/svg+xml", `${name}.svg`),
      PNG: () => savePng(figure, `${name}.png`),
      CSV: () => save(csv(rows()), "text/csv", `${name}.csv`),
    };
    for (const [kind, give] of Object.entries(kinds)) {
      figure.querySelector(".files").append(button(kind, `${title}: save as ${kind}`, give));
    }
  }

  function button(text, label, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    if (label) made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  }

  // A column's values say how it is sorted: by data-value where a cell has one, else by its text.
  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const words = head.textContent.trim();
      const sort = button(words, "", () => {
        const rising = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.value ?? row.cells[column].innerText;
        const sorted = [...table.tBodies[0].rows].sort((one, other) => {
          const [a, b] = [key(one), key(other)];
          if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last
          const apart = Number(a) - Number(b);
          const order = Number.isNaN(apart) ? a.localeCompare(b) : apart;
          return rising ? order : -order;
        });
        table.tBodies[0].append(...sorted);
      });
      head.replaceChildren(sort);
    });
  }

  // --- Learning curves ---------------------------------------------------------------------

  const sum = (values) => values.reduce((all, value) => all + value, 0);

  // The mean of runs, at the steps at which all of them were judged; of very many points from the
  // means of each pixel. A run that is not at its end counts where none is.
  function meanOf(runs, parts) {
    const sound = runs.filter((run) => !run.diverged), ended = sound.filter((run) => !run.running);
    const counted = (ended.length ? ended : sound).filter((run) => run.x.length);
    if (!counted.length) return { x: [], y: [], perStep: 0 };
    const perStep = sum(counted.map((run) => run.perStep)) / counted.length;
    const known = counted.map((run) => new Map(parts
      ? parts.map((x, i) => [x, run.middle[i]]).filter(([, y]) => y !== null)
      : run.x.map((x, i) => [x, run.y[i]])));
    const x = (parts ?? counted[0].x).filter((at) => known.every((one) => one.has(at)));
    const y = x.map((at) => sum(known.map((one) => one.get(at))) / counted.length);
    return { x, y, perStep };
  }

  function drawCurves() {
    const form = byId("curve-options"), unit = form.elements.unit.value;
    const front = form.elements.search?.checked ?? false, cycles = form.elements.cycles?.value ?? "";
    const seeds = new Set([...form.querySelectorAll("[name=seed]:checked")].map((box) => +box.value));
    const shown = new Set([...form.querySelectorAll("[name=policy]:checked")].map((box) => +box.value));
    const { stepsPerEpoch } = data.curves;
    for (const quantity of data.curves.quantities) {
      const figure = document.querySelector(`[data-figure="${quantity.figure}"]`);
      const place = (policy, perStep) => {
        const before = front ? policy.search : { steps: 0, seconds: 0 };
        if (unit === "seconds") return (step) => step * perStep + before.seconds;
        return (step) => (step + before.steps) / (unit === "epochs" ? stepsPerEpoch : 1);
      };
      const placed = quantity.policies.map((policy) => {
        const runs = policy.runs.filter((run) => seeds.has(run.seed));
        const mean = meanOf(runs, policy.parts), at = place(policy, mean.perStep);
        return {
          ...policy,
          search: front ? at(0) : 0,
          cycles: policy.cycles.map(at),
          mean: { x: mean.x.map(at), y: mean.y },
          runs: runs.map((run) => ({ ...run, x: run.x.map(place(policy, run.perStep)) })),
        };
      });
      const label = unit === "steps" ? "optimizer steps" : unit;
      const shaded = cycles === "" ? null : placed[cycles];
      drawQuantity(figure, quantity, placed.filter((_, i) => shown.has(i)), { unit, label, shaded });
    }
  }

  function drawQuantity(figure, quantity, policies, { unit, label, shaded }) {
    const xs = policies.flatMap((policy) => [policy.mean, ...policy.runs].flatMap(({ x }) => x));
    let end = 0, first = Infinity;
    for (const x of xs) {
      end = Math.max(end, x);
      if (x > 0) first = Math.min(first, x);
    }
    const [low, high] = quantity.limits;
    const across = new Axis(quantity.logSteps ? first : 0, end || 1, {
      label, write: unit === "steps" ? count : number, log: quantity.logSteps && end > first });
    const write = quantity.percent ? percent : number;
    const up = new Axis(low, high, { log: quantity.logValues, write });
    const said = shaded ? ` Shaded: every second cycle of ${shaded.label}.` : "";
    const alt = `${quantity.alt} Drawn over ${label}, for ${
      policies.map((policy) => policy.label).join(", ") || "no policy"}.${said}`;
    figure.querySelector("figcaption").textContent = quantity.caption + said;
    const chart = new Chart(across, up, quantity.title, alt, { right: NAMED_RIGHT });
    for (let i = 1; shaded && i + 1 < shaded.cycles.length; i += 2) {
      const ends = [shaded.cycles[i], shaded.cycles[i + 1]].map((x) => clamp(x, across.low, across.high));
      chart.band(ends, [low, low], [high, high], "var(--grid)", 0.6);
    }
    for (const { runs, color, search } of policies) {
      // What a search took has no loss to show: it lies on the axis, in front of the curve.
      if (search) chart.line([across.low, search], [low, low], color, { width: 6, opacity: 0.6 });
      for (const { x, y, diverged, running } of runs) {
        chart.line(x, y, color, running ? { width: 1.2, opacity: 0.8 } : { width: 0.8, opacity: 0.45 });
        if (diverged && x.length) chart.cross(x.at(-1), y.at(-1), color);
        if (running && x.length) chart.dots(x.slice(-1), y.slice(-1), color, 3.5);
      }
    }
    if (quantity.goal !== null) chart.level(quantity.goal, "var(--ink)");
    for (const { mean, color, dash } of policies) {
      chart.line(mean.x, mean.y, color, { dash });
      if (mean.x.length === 1) chart.dots(mean.x, mean.y, color, 3);
    }
    chart.names(policies.filter(({ mean }) => mean.y.length).map(
      ({ name, color, dash, mean }) => ({ name, color, dash, end: mean.y.at(-1) })));
    chart.show(figure);
    const rows = policies.flatMap(({ label: policy, mean }) => someOf(mean.x.length).map(
      (i) => [policy, number(mean.x[i]), write(mean.y[i])]));
    fillTable(figure, ["Policy", label, quantity.title], rows);
    numbersOf[quantity.figure] = () => [["policy", "seed", "fold", label, quantity.title],
      ...policies.flatMap((policy) => policy.runs.flatMap((run) => run.x.map(
        (x, i) => [policy.label, run.seed, run.fold, x, run.y[i]])))];
  }

  // At most 13 places, evenly spread, the first and the last among them.
  function someOf(length, most = 13) {
    const many = Math.min(length, most);
    return Array.from({ length: many }, (_, i) => Math.round(i * (length - 1) / Math.max(many - 1, 1)));
  }

  // --- Schedules: the formulas of cyclerate.schedules, and the code that makes them ----------

  const blend = (a, b, u) => clamp(a * (1 - u) + b * u, Math.min(a, b), Math.max(a, b));
  const hann = (u) => Math.sin(u * Math.PI / 2) ** 2;
  const SHAPES = { triangle: (u) => u, linear: (u) => u, cosine: hann, welch: (u) => u * (2 - u) };

  // From `start` to `end` over so many steps. A falling ramp counts what is left: see _ramps.py.
  function ramp(shape, start, end, steps) {
    const rising = end >= start, [low, high] = rising ? [start, end] : [end, start];
    return (n) => {
      const done = Math.min(n, steps), root = Math.sqrt(done / steps);
      const left = (steps - done) / steps;
      const height = shape !== "sqrt" ? SHAPES[shape](rising ? done / steps : left)
        : rising ? root : left / (1 + root);
      return blend(low, high, height);
    };
  }

  const joined = (pieces) => (n) => {
    const [start, piece] = pieces.findLast(([from]) => from <= n);
    return piece(n - start);
  };

  // As Python rounds: a half goes to the even neighbour.
  const evenly = (value) => {
    const down = Math.floor(value), rest = value - down;
    return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
  };

  const call = (name, values) => `cr.${name}(${Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${typeof value === "string" ? `'${value}'`
      : value === true ? "True" : value}`).join(", ")})`;
  const unless = (value, usual) => (value === usual ? undefined : value);

  const cycling = (name, envelope) => (s) => {
    const length = Math.max(2, Math.floor(s.steps / s.cycles));
    const up = clamp(Math.round(s.up * length), 1, length - 1), down = length - up;
    const scale = envelope(s);
    return {
      code: call(name, {
        base_lr: s.low, max_lr: s.max_lr, step_size: up, ...scale.given,
        step_size_down: unless(down, up), shape: unless(s.shape, "triangle"),
      }),
      at: (n) => {
        const before = Math.floor(n / length), k = n - before * length;
        const height = SHAPES[s.shape](k <= up ? k / up : (length - k) / down);
        return blend(s.low, s.max_lr, height * scale.at(n, before));
      },
    };
  };

  function oneCycle(s) {
    const last = s.steps - 1, first = s.max_lr / s.start_div, end = first / s.end_div;
    const wanted = Math.floor(s.up * s.steps + 0.5) - 1;
    const earliest = s.up > 0 && last >= 2 ? 1 : 0;
    let latest = s.up === 1 && !s.three_phase ? last : Math.max(last - 1, 0);
    if (s.three_phase && last >= 3) {
      latest = s.up < 0.5 || last % 2 ? Math.floor((last - 1) / 2) : Math.floor(last / 2);
    }
    const top = Math.min(Math.max(wanted, earliest), latest);
    const corners = top > 0 ? [[0, first], [top, s.max_lr]] : [[0, s.max_lr]];
    if (s.three_phase && 0 < 2 * top && 2 * top < last) corners.push([2 * top, first]);
    if (last > top) corners.push([last, end]);
    const pieces = corners.slice(1).map(([at, to], i) => {
      const [since, from] = corners[i];
      return [since, ramp(s.shape, from, to, at - since)];
    });
    return {
      code: call("OneCycle", {
        max_lr: s.max_lr, total_steps: s.steps, up_frac: unless(s.up, 0.3),
        start_div: unless(s.start_div, 25), end_div: unless(s.end_div, 1e4),
        shape: unless(s.shape, "cosine"), three_phase: unless(s.three_phase, false),
      }),
      at: pieces.length ? joined(pieces) : () => s.max_lr,
    };
  }

  function restarts(s) {
    let shares = 0;
    for (let i = 0; i < s.cycles; i++) shares += s.mult ** i;
    const steps = Math.max(1, Math.floor(s.steps / shares)), starts = [0], lengths = [steps];
    while (s.mult !== 1 && starts.at(-1) + lengths.at(-1) < s.steps) {
      starts.push(starts.at(-1) + lengths.at(-1));
      lengths.push(evenly(steps * s.mult ** lengths.length));
    }
    return {
      code: call("WarmRestarts", {
        max_lr: s.max_lr, cycle_steps: steps, cycle_mult: unless(s.mult, 1),
        min_lr: unless(s.low, 0),
      }),
      at: (n) => {
        const i = s.mult === 1 ? 0 : starts.findLastIndex((start) => start <= n);
        const left = s.mult === 1 ? steps - n % steps : starts[i] + lengths[i] - n;
        return blend(s.low, s.max_lr, hann(left / lengths[i]));
      },
    };
  }

  function warmupStableDecay(s) {
    const part = (share) => Math.floor(share * s.steps + 0.5), last = s.steps - 1;
    const decay = Math.min(Math.max(part(s.down), s.down > 0 ? 1 : 0), last);
    const warmup = Math.min(part(s.up), last - decay), pieces = [];
    if (warmup) pieces.push([0, ramp("linear", s.low, s.max_lr, warmup)]);
    if (warmup < last - decay || !decay) pieces.push([warmup, () => s.max_lr]);
    if (decay) pieces.push([last - decay, ramp(s.shape, s.max_lr, s.low, decay)]);
    return {
      code: call("WarmupStableDecay", {
        max_lr: s.max_lr, total_steps: s.steps, warmup_frac: unless(s.up, 0.05),
        decay_frac: unless(s.down, 0.2), decay: unless(s.shape, "sqrt"), min_lr: unless(s.low, 0),
      }),
      at: joined(pieces),
    };
  }

  function cosLog(s) {
    const shares = 2 ** s.cycles - 1;
    return {
      code: call("CosLog", { max_lr: s.max_lr, total_steps: s.steps, cycles: unless(s.cycles, 4) }),
      at: (n) => {
        if (s.steps === 1) return s.max_lr;
        const t = Math.min(n, s.steps - 1) / s.steps;
        return s.max_lr * Math.sin(Math.PI * Math.log2(1 + shares * t)) ** 2;
      },
    };
  }

  // What makes each policy that is offered. Which controls it has, and where they begin, the page
  // says (`OFFERED` in _numbers.py); `low` is what its lower rate is called.
  const MADE = {
    one_cycle: oneCycle,
    triangular: cycling("Triangular", () => ({ at: () => 1 })),
    triangular2: cycling("Triangular2", () => ({ at: (_, before) => 0.5 ** before })),
    exp_range: cycling("ExpRange", (s) => {
      const gamma = s.left ** (1 / s.steps);
      return { given: { gamma }, at: (n) => gamma ** n };
    }),
    restarts,
    wsd: warmupStableDecay,
    coslog: cosLog,
    constant: (s) => ({ code: call("Constant", { value: s.max_lr }), at: () => s.max_lr }),
  };
  const POLICIES = Object.fromEntries(
    data.policies.map((offered) => [offered.name, { ...offered, make: MADE[offered.name] }]));
  const CONTROLS = ["up", "down", "cycles", "shape", "end_div", "left", "mult", "three_phase"];

  // Steps with the lowest and highest rate around each: of a long schedule some steps of every
  // pixel are asked, not evenly spread, so that no cycle can hide between them.
  function envelope(at, steps, bins = 340, most = 64) {
    const found = { x: [], low: [], high: [] };
    const many = Math.min(steps, bins);
    for (let bin = 0; bin < many; bin++) {
      const from = Math.floor(bin * steps / many), to = Math.floor((bin + 1) * steps / many) - 1;
      const asked = Math.min(to - from + 1, most);
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < asked; i++) {
        const share = asked === to - from + 1 ? i / asked : ((i + 1) * 0.6180339887) % 1;
        const rate = at(from + Math.floor(share * (to - from + 1) + 1e-9));
        low = Math.min(low, rate);
        high = Math.max(high, rate);
      }
      found.x.push((from + to) / 2);
      found.low.push(low);
      found.high.push(high);
    }
    return found;
  }

  // --- Choosing: rates, policy, length; the schedule, the code and the handles follow ---------

  const form = byId("design");
  const state = { policy: "one_cycle", ...data.design };
  let schedule = null;

  const control = (name) => form.elements[name];
  const isCycle = () => POLICIES[state.policy].low === "base_lr";
  const lowKey = () => ({ "base_lr": "base_lr", "min_lr": "min_lr" })[POLICIES[state.policy].low];
  const lowRate = () => (lowKey() ? state[lowKey()] : rounded(state.max_lr / state.start_div));

  function setLow(value) {
    if (lowKey()) state[lowKey()] = value;
    else state.start_div = rounded(state.max_lr / value, 6);
  }

  // Writes what is chosen into the controls, but not into the one that is being typed in.
  function showState() {
    const policy = POLICIES[state.policy];
    const write = (name, value) => {
      if (document.activeElement !== control(name)) control(name).value = value;
    };
    write("policy", state.policy);
    write("max_lr", state.max_lr);
    write("steps", state.steps);
    if (policy.low) write("low", lowRate());
    byId("low-name").textContent = policy.low ?? "base_lr";
    control("low").closest("label").hidden = !policy.low;
    for (const name of CONTROLS) {
      const has = policy[name] !== undefined;
      control(name).closest("label").hidden = !has;
      if (!has) continue;
      if (name === "shape") {
        control(name).replaceChildren(...policy.shapes.map((shape) => new Option(shape, shape)));
      }
      if (name === "three_phase") control(name).checked = state[name];
      else write(name, state[name]);
    }
    control("up").max = state.policy === "one_cycle" && state.three_phase ? 0.5 : 1;
    for (const name of ["up", "down"]) byId(`${name}-value`).textContent = percent(state[name] ?? 0);
  }

  // Why what is chosen cannot be; "" if it can.
  function refused() {
    const whole = (name) => Number.isInteger(state[name]) && state[name] >= 1;
    if (!(state.max_lr > 0 && Number.isFinite(state.max_lr))) return "max_lr: a number above 0.";
    const low = POLICIES[state.policy].low ? lowRate() : 0;
    const name = POLICIES[state.policy].low;
    if (!(low >= 0) || (low === 0 && name === "first rate")) return `${name}: a number above 0.`;
    if (low > state.max_lr) return `${name}: at most max_lr, ${state.max_lr}.`;
    if (!whole("steps") || state.steps > 1e9) return "Steps: a whole number from 1 to a billion.";
    const policy = POLICIES[state.policy];
    if (policy.cycles && (!whole("cycles") || state.cycles > 20)) return "Cycles: 1 to 20.";
    if (policy.end_div && !(state.end_div >= 1)) return "First rate over last: 1 or more.";
    if (policy.left && !(state.left > 0 && state.left <= 1)) return "Height left: above 0, at most 1.";
    if (policy.mult && !(state.mult === 1 || state.mult >= 1.01)) return "Each cycle longer: 1 or more.";
    if (policy.down !== undefined && state.up + state.down > 1) {
      return "Shares of the way up and down: at most 100 % together.";
    }
    return "";
  }

  function redraw() {
    showState();
    const wrong = refused();
    byId("refused").textContent = wrong;
    if (wrong) return;
    schedule = POLICIES[state.policy].make({ ...state, low: lowRate() });
    drawSchedule();
    writeCode();
    placeHandles();
    byId("expected")?.replaceChildren(expectation());
  }

  function drawSchedule() {
    const figure = document.querySelector('[data-figure="schedule"]'), { steps } = state;
    const { x, low, high } = envelope(schedule.at, steps);
    const top = Math.max(...high), bottom = Math.min(...low);
    const across = new Axis(0, Math.max(steps - 1, 1), { label: "step", write: count });
    const alt = `Line chart of the learning rate over ${steps} steps, from ${number(bottom)} to ` +
      `${number(top)}: ${schedule.code}.`;
    const chart = new Chart(across, new Axis(0, 1.06 * top || 1), "Learning rate", alt);
    if (steps > x.length) chart.band(x, low, high, "var(--line-0)", 0.5);
    chart.line(x, high, "var(--line-0)");
    chart.show(figure);
    const row = (i) => [String(i), number(schedule.at(i))];
    fillTable(figure, ["Step", "Learning rate"], someOf(steps).map(row));
    numbersOf.schedule = () => [["step", "learning rate"],
      ...someOf(steps, 10000).map((i) => [i, schedule.at(i)])];
  }

  function writeCode() {
    const chosen = data.frameworks[form.elements.framework.value];
    const [text, place, value] = state.policy === "constant"
      ? [chosen.constant, "{rate}", state.max_lr] : [chosen.code, "{schedule}", schedule.code];
    byId("code").textContent = text.replace(place, () => value);
    byId("how").textContent = chosen.how;
  }

  // --- The range test -----------------------------------------------------------------------

  const tests = data.tests;
  let test = tests[0], testChart = null;
  const handles = {};

  function drawTest() {
    const options = byId("test-options").elements;
    const figure = document.querySelector('[data-figure="range_test"]');
    test = tests[Number(options.sweep?.value ?? 0)];
    const log = options.axis.value === "log"; // where a rate of 0 has no place
    const ends = [log ? test.lrs.find((lr) => lr > 0) : test.lrs[0], test.lrs.at(-1)];
    const across = new Axis(...ends, { log, label: "learning rate" });
    const up = new Axis(...test.limits);
    // A group, not an image: it holds the handles, which can be reached by keyboard.
    const chart = new Chart(across, up, `Range test: ${test.metric}`, test.alt, { role: "group" });
    if (test.interval) {
      const [low, high] = test.interval.map((lr) => clamp(lr, ...ends));
      chart.band([low, high], [up.low, up.low], [up.high, up.high], "var(--line-1)", 0.12);
    }
    if (test.density && options.density?.checked) drawDensity(chart, test.density);
    if (test.band && options.band?.checked) {
      chart.band(test.lrs, test.band[0], test.band[1], "var(--line-0)");
    }
    if (options.raw.checked) {
      for (const { lrs, losses } of test.runs) chart.dots(lrs, losses, "var(--faint)", 1.3, 0.6);
    }
    if (options.smoothed.checked) {
      chart.line(test.smoothed.x, test.smoothed.y, "var(--line-0)", { width: 2.2 });
    }
    if (options.races?.checked) {
      for (const [lr, score] of test.races) {
        const out = score === null || score < up.low || score > up.high;
        if (out) chart.cross(lr, test.mode === "min" ? up.high : up.low, "var(--line-3)");
        else chart.dots([lr], [score], "var(--line-3)", 4);
      }
    }
    testChart = chart;
    chart.svg.append(handle("low", "var(--line-2)"), handle("max_lr", "var(--line-1)"));
    chart.show(figure);
    const swept = someOf(test.smoothed.x.length).map(
      (i) => [number(test.smoothed.x[i]), "sweep", number(test.smoothed.y[i])]);
    const raced = test.races.map(
      ([lr, score]) => [number(lr), "race", score === null ? "diverged" : number(score)]);
    fillTable(figure, ["Learning rate", "of a", test.metric], [...swept, ...raced]);
    numbersOf.range_test = () => [["learning rate", "of", test.metric],
      ...test.runs.flatMap(({ lrs, losses }, i) => lrs.map((lr, k) => [lr, `sweep ${i + 1}`, losses[k]])),
      ...test.smoothed.x.map((lr, i) => [lr, "smoothed", test.smoothed.y[i]]),
      ...test.races.map(([lr, score]) => [lr, "race", score])];
    placeHandles();
  }

  // How probable each rate is, at the foot of the chart, as high as in _plot.py.
  function drawDensity(chart, { lrs, before, after }) {
    const { low, high } = chart.y, up = (share) => low + 0.22 * (high - low) * share;
    chart.band(lrs, lrs.map(() => low), after.map(up), "var(--line-1)", 0.35);
    if (before) chart.line(lrs, before.map(up), "var(--faint)", { width: 1.2, dash: "3 2" });
  }

  // A rate's handle: a slider that is dragged, or moved by the arrow keys.
  function handle(name, color) {
    const made = element("g", { role: "slider", tabindex: 0, class: "handle", "data-rate": name });
    const low = name === "low";
    made.append(
      element("rect", { x: -12, y: TOP, width: 24, height: HEIGHT - TOP - BOTTOM, fill: "transparent" }),
      element("line", { y1: TOP, y2: HEIGHT - BOTTOM, style: `stroke:${color};stroke-width:1.5;stroke-dasharray:4 3` }),
      element("circle", { cy: low ? TOP + 8 : HEIGHT - BOTTOM - 8, r: 7, style: `fill:${color};stroke:var(--paper);stroke-width:2` }),
      element("text", { y: low ? TOP + 30 : HEIGHT - BOTTOM - 22, style: `fill:${color};paint-order:stroke;stroke:var(--paper);stroke-width:3` }));
    made.addEventListener("pointerdown", (event) => {
      made.setPointerCapture(event.pointerId);
      made.focus();
      event.preventDefault();
    });
    made.addEventListener("pointermove", (event) => {
      if (!made.hasPointerCapture(event.pointerId)) return;
      const box = testChart.svg.getBoundingClientRect();
      const x = (event.clientX - box.left) * WIDTH / box.width - LEFT;
      move(name, testChart.x.at(clamp(x / testChart.wide, 0, 1)));
    });
    made.addEventListener("keydown", (event) => {
      const decades = { ArrowRight: 0.02, ArrowUp: 0.02, ArrowLeft: -0.02, ArrowDown: -0.02, PageUp: 0.2, PageDown: -0.2 }[event.key];
      const end = { Home: testChart.x.low, End: testChart.x.high }[event.key];
      if (decades === undefined && end === undefined) return;
      event.preventDefault();
      const now = (name === "low" ? lowRate() : state.max_lr) || testChart.x.low;
      move(name, clamp(end ?? now * 10 ** decades, testChart.x.low, testChart.x.high));
    });
    handles[name] = made;
    return made;
  }

  function move(name, rate) {
    if (name === "low") setLow(rounded(Math.min(rate, state.max_lr)));
    else state.max_lr = rounded(isCycle() ? Math.max(rate, state.base_lr) : rate);
    if (name === "max_lr" && lowKey() === "min_lr") state.min_lr = Math.min(state.min_lr, state.max_lr);
    redraw();
  }

  function placeHandles() {
    if (!testChart) return;
    for (const [name, made] of Object.entries(handles)) {
      const called = name === "low" ? POLICIES[state.policy].low : "max_lr";
      made.style.display = called ? "" : "none";
      if (!called) continue;
      const rate = name === "low" ? lowRate() : state.max_lr;
      const at = LEFT + clamp(testChart.x.share(rate), 0, 1) * testChart.wide;
      const left = name === "low" ? at > LEFT + 90 : at > LEFT + testChart.wide - 90;
      const text = made.querySelector("text");
      made.setAttribute("transform", `translate(${at.toFixed(1)},0)`);
      text.textContent = `${called} ${rate}`;
      text.setAttribute("x", left ? -11 : 11);
      text.setAttribute("text-anchor", left ? "end" : "start");
      const said = { label: called, valuemin: testChart.x.low, valuemax: testChart.x.high,
        valuenow: rate, valuetext: `${called} ${rate}` };
      for (const [key, value] of Object.entries(said)) made.setAttribute(`aria-${key}`, value);
    }
  }

  const labelOf = (policy) => POLICIES[policy]?.label ?? policy;

  // What the races say of the rate that is chosen: between two of them, a straight line over the
  // logarithm of the rate. How sure that is, repeats say; of one probe, how far apart the two are.
  function expectation() {
    const races = [...test.races].sort((a, b) => a[0] - b[0]), lr = state.max_lr;
    const other = races.length && test.policy && test.policy !== state.policy;
    return whatRacesSay(races, lr) +
      (other ? ` The races were trainings with ${labelOf(test.policy)}, not ${labelOf(state.policy)}.` : "");
  }

  const around = (races, lr) => [races.findLast(([rate]) => rate <= lr), races.find(([rate]) => rate >= lr)];

  function between([below, above], lr) {
    const wide = Math.log(above[0] / below[0]);
    return below[1] + (wide ? Math.log(lr / below[0]) / wide : 0) * (above[1] - below[1]);
  }

  function whatRacesSay(races, lr) {
    if (!races.length) return "No races were run: a sweep alone does not say what loss to expect.";
    const tell = ([rate, score]) => (score === null
      ? `a race at ${number(rate)} diverged` : `a race at ${number(rate)} ended at ${number(score)}`);
    const begins = `The ${test.metric} to expect after a race at max_lr ${lr}:`;
    const repeats = test.runs.map((run) => around([...run.races].sort((a, b) => a[0] - b[0]), lr))
      .filter((pair) => pair.every((race) => race && race[1] !== null)).map((pair) => between(pair, lr));
    if (repeats.length > 1) {
      const mean = sum(repeats) / repeats.length;
      const spread = Math.sqrt(sum(repeats.map((one) => (one - mean) ** 2)) / (repeats.length - 1));
      const digits = spread > 0 ? clamp(1 - Math.floor(Math.log10(spread)), 0, 12) : 4;
      return `${begins} ${mean.toFixed(digits)} ± ${spread.toFixed(digits)} (mean and standard deviation of ` +
        `${repeats.length} probes).`;
    }
    const [below, above] = around(races, lr);
    if (!below || !above) {
      const way = below ? "high" : "low";
      return `No race was as ${way} as max_lr ${lr}: the nearest, ${tell(below ?? above)}.`;
    }
    if (below[1] === null || above[1] === null) return `Around max_lr ${lr}: ${tell(below)}, ${tell(above)}.`;
    if (below[0] === above[0]) {
      return `${begins} ${number(below[1])}, of one race; repeats would say how sure that is.`;
    }
    const give = Math.abs(above[1] - below[1]) / 2, at = between([below, above], lr);
    const digits = give > 0 ? clamp(1 - Math.floor(Math.log10(give)), 0, 12) : 4;
    return `${begins} about ${Number(at.toFixed(digits))}, give or take ` +
      `${rounded(give, 2)} (${tell(below)}, ${tell(above)}).`;
  }

  // --- Begin ---------------------------------------------------------------------------------

  function read(event) {
    const { name, value, type, checked } = event.target;
    if (name === "policy") {
      state.policy = value;
      // Another policy begins with its own usual shares; rates and length stay.
      const { up, down, cycles, shape, end_div, left, mult, three_phase } = POLICIES[value];
      const usual = { up, down, cycles, shape, end_div, left, mult, three_phase };
      for (const [key, begins] of Object.entries(usual)) if (begins !== undefined) state[key] = begins;
      state.base_lr = Math.min(state.base_lr, state.max_lr);
      state.min_lr = Math.min(state.min_lr, state.max_lr);
    } else if (name === "low") setLow(Number(value));
    else if (name === "shape") state.shape = value;
    else if (name === "three_phase") {
      state.three_phase = checked;
      if (checked) state.up = Math.min(state.up, 0.5);
    } else if (name && type !== "radio") state[name] = value.trim() === "" ? NaN : Number(value);
    redraw();
  }

  function begin() {
    for (const hidden of document.querySelectorAll("[data-live]")) hidden.hidden = false;
    document.querySelectorAll("figure[data-figure]").forEach(offerFiles);
    document.querySelectorAll("table.sortable").forEach(makeSortable);
    for (const given of document.querySelectorAll("[data-csv]")) {
      const table = byId(given.dataset.csv);
      given.addEventListener("click", () => save(csv(tableRows(table)), "text/csv", `${table.id}.csv`));
    }
    if (data.curves) {
      byId("curve-options").addEventListener("input", drawCurves);
      drawCurves();
    }
    if (tests.length) {
      byId("test-options").addEventListener("input", () => { drawTest(); redraw(); });
      drawTest();
    }
    if (form) {
      const policy = POLICIES[state.policy];
      for (const name of CONTROLS) state[name] ??= policy[name];
      form.addEventListener("input", read);
      form.addEventListener("submit", (event) => event.preventDefault());
      byId("copy").addEventListener("click", async () => {
        const text = byId("code").textContent;
        // A page of the file system may have no clipboard: then the code is selected instead.
        try {
          await navigator.clipboard.writeText(text);
          byId("copied").textContent = "Copied.";
        } catch {
          getSelection().selectAllChildren(byId("code"));
          byId("copied").textContent = "Selected: copy it with your keyboard.";
        }
      });
      redraw();
      // The rates that are drawn, for whoever wants to check them.
      form.rateAt = (step) => schedule.at(step);
    }
  }

  begin();
  return { data, byId, Axis, Chart, count, number, fillTable, drawCurves };
})();
