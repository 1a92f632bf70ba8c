/* The feature explorer: a list of features to sort, and of the chosen one its texts, means and distribution.

   Data, from report/page/explorer_data.py: reference, confidence, lists (titles by name), languages (by code: name,
   colour, same: whether of the reference's script), models (name, title, texts: tokens, groups: layer, sae, features).
   A feature: f number, l lists, c class, s largest share, g gap in percent, x excess and m monosemanticity, k class of
   paper C, np page on Neuronpedia, mx largest activation, n parallel texts, on what its means are of, b by language
   [mean, low, high, n, share, texts fired], h histograms by language, p phrases {o origin, v texts by language, w words
   by language}, t strongest texts by language, say sentences. A text: [number, tokens before, tokens after, strongest
   activation, [token, activation, token, activation, ...]]. Keys without a value are left out. */
(() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const COLUMNS = [
    { key: "f", title: "Feature", text: (feature) => String(feature.f), number: true },
    { key: "g", title: "Gap", unit: "%", text: (feature) => fixed(feature.g, 1), number: true },
    { key: "c", title: "Class", text: (feature, data) => className(feature.c, data), number: false },
    { key: "s", title: "Share", unit: "%", text: (feature) => fixed(times(feature.s, 100), 0), number: true },
    { key: "x", title: "Concept", text: (feature) => fixed(feature.x, 2), number: true },
  ];

  /* Elements from plain values; what is text stays text. */
  function make(tag, attributes = {}, ...children) {
    const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
      else if (name.startsWith("--")) node.style.setProperty(name, value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  }

  const missing = (value) => value === null || value === undefined;
  const times = (value, by) => (missing(value) ? value : value * by);
  const minus = (text) => text.replace("-", "\u2212");
  const fixed = (value, digits) => (missing(value) ? "\u2013" : minus((value + 0).toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1")));
  const four = (value) => (missing(value) ? "\u2013" : minus(String(Number(value.toPrecision(4)))));
  const nameOf = (code, data) => (data.languages[code] ? data.languages[code].name : code);
  const className = (code, data) => (missing(code) ? "\u2013" : nameOf(code, data));
  const shown = (token) => {
    const letters = [...token.trim()];
    return letters.length > 40 ? `${letters.slice(0, 40).join("")}\u2026` : letters.join("") || "space";
  };

  /* Languages in the page's order, the one that comes first ahead. */
  function ordered(codes, data, first) {
    const all = Object.keys(data.languages).filter((code) => codes.has(code));
    return [...all.filter((code) => code === first), ...all.filter((code) => code !== first)];
  }

  /* A text with its tokens shaded: spans without space or padding, so that letters of a word stay joined. */
  function textOf(span, code, feature, model, data) {
    const [number, before, after, , fired] = span;
    const values = new Map();
    for (let at = 0; at < fired.length; at += 2) values.set(fired[at], fired[at + 1]);
    const strongest = Math.max(0, ...values.values());
    const peak = model.texts[number].findIndex((_, at) => values.get(at) === strongest);
    const say = (token, value) => `\u201c\u2068${shown(token)}\u2069\u201d ${four(value)}`;
    const rest = values.size ? `strongest ${say(model.texts[number][peak], strongest)}` : "";
    const read = make("span", { class: "explorer-read note" }, rest);
    const tokens = [];
    const parts = model.texts[number].map((token, at) => {
      const value = values.get(at);
      if (!value) return document.createTextNode(token);
      const shade = Math.min(1, value / feature.mx).toFixed(2);
      const kind = value === strongest ? "explorer-token strongest" : "explorer-token";
      const word = token.trimStart() || token; // space before a word stays unshaded: a line may break there
      const node = make("span", { class: kind, "--heat": shade, title: four(value) }, word);
      tokens.push({ node, words: say(token, value) });
      return [token.slice(0, token.length - word.length), node];
    });
    let current = -1;
    const point = (at) => {
      if (current >= 0) tokens[current].node.classList.remove("current");
      current = at;
      if (at >= 0) tokens[at].node.classList.add("current");
      read.textContent = at >= 0 ? tokens[at].words : rest;
    };
    const move = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const way = getComputedStyle(text).direction === "rtl" ? -step : step;
      point(Math.max(0, Math.min(tokens.length - 1, current < 0 && way > 0 ? 0 : current + way)));
      read.setAttribute("aria-live", "polite");
    };
    const attributes = { class: "explorer-text", lang: code, dir: "auto" };
    if (tokens.length) {
      const over = (event) => point(tokens.findIndex((token) => token.node === event.target));
      const leave = () => point(-1);
      attributes.tabindex = "0";
      attributes.on = { keydown: move, pointerover: over, pointerleave: leave, blur: leave };
    }
    const text = make("p", attributes, before > 0 ? "\u2026 " : "", parts, after > 0 ? " \u2026" : "");
    return [text, rest ? read : null];
  }

  function card(code, data, ...content) {
    const colour = data.languages[code] ? data.languages[code].colour : "#777777";
    return make("div", { class: "explorer-card", "--language": colour }, make("h5", {}, nameOf(code, data)), ...content);
  }

  function phrases(feature, model, data) {
    return (feature.p || []).map((phrase, at, all) => {
      const codes = new Set([...Object.keys(phrase.v), ...Object.keys(phrase.w)]);
      const cards = ordered(codes, data, phrase.o).map((code) => {
        const text = phrase.v[code] ? textOf(phrase.v[code], code, feature, model, data) : [];
        return card(code, data, ...text, phrase.w[code] ? make("p", { class: "note" }, phrase.w[code]) : null);
      });
      const which = all.length > 1 ? `${at + 1} of ${all.length}. ` : "";
      const from = phrase.o === data.reference ? `Chosen in ${nameOf(phrase.o, data)}, where it fires the feature most.`
        : `The feature has no phrase in ${nameOf(data.reference, data)}; this text was chosen in ${nameOf(phrase.o, data)}.`;
      return [make("p", { class: "note" }, which + from), make("div", { class: "explorer-cards" }, cards)];
    });
  }

  function contexts(feature, model, data) {
    const codes = ordered(new Set([...Object.keys(feature.b || {}), ...Object.keys(feature.t || {})]), data, data.reference);
    return make("div", { class: "explorer-cards" }, codes.map((code) => {
      const texts = ((feature.t || {})[code] || []).map((span) => textOf(span, code, feature, model, data));
      return card(code, data, ...(texts.length ? texts.flat() : [make("p", { class: "note" }, "fires in no text here")]));
    }));
  }

  function bars(feature, data) {
    const codes = ordered(new Set(Object.keys(feature.b || {})), data, data.reference)
      .filter((code) => !missing(feature.b[code][0]));
    if (!codes.length) return null;
    const largest = Math.max(...codes.map((code) => Math.max(feature.b[code][0], feature.b[code][2] || 0))) || 1;
    const percent = (value) => `${(100 * value / largest).toFixed(2)}%`;
    const rows = codes.map((code) => {
      const [mean, low, high, n, , fired] = feature.b[code];
      const whisker = missing(low) || low === high ? null
        : make("span", { class: "explorer-whisker", "--from": percent(low), "--to": percent(high) });
      const interval = missing(low) ? "" : ` (${four(low)} to ${four(high)})`;
      return make("tr", {},
        make("th", { scope: "row" }, nameOf(code, data)),
        make("td", { class: "explorer-track", "aria-hidden": "true" },
          make("span", { class: "explorer-bar", "--length": percent(mean), "--language": data.languages[code].colour }), whisker),
        make("td", {}, `${four(mean)}${interval}`),
        make("td", {}, String(n)),
        make("td", {}, missing(fired) ? "\u2013" : `${fired} of ${feature.n}`));
    });
    const of = feature.on === "phrases" ? "the feature's phrases" : "the texts that fire it in some language";
    const head = ["Language", "", `Mean (${Math.round(100 * data.confidence)} % interval)`, "n", "Texts that fire it"];
    return [
      make("h4", {}, "By language"),
      make("p", { class: "note" }, `Strongest activation in a text, mean over ${of}.`),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Activation by language" },
        make("table", { class: "explorer-bars" },
          make("thead", {}, make("tr", {}, head.map((title) => make(title ? "th" : "td", title ? { scope: "col" } : {}, title)))),
          make("tbody", {}, rows))),
    ];
  }

  function histogram(feature, data) {
    const counts = feature.h || {};
    const codes = Object.keys(counts);
    if (!codes.length || !counts[data.reference]) return null;
    const home = counts[data.reference];
    const others = codes.filter((code) => code !== data.reference);
    const mean = home.map((_, bin) => others.reduce((sum, code) => sum + counts[code][bin], 0) / (others.length || 1));
    const total = (series) => series.reduce((sum, count) => sum + count, 0);
    const most = Math.max(...home, ...mean);
    const heading = make("h4", {}, "Distribution");
    if (!most) return [heading, make("p", {}, `It fires in none of the ${feature.n} parallel texts.`)];
    const [width, height, step] = [480, 120, 480 / home.length];
    const place = (count) => (count / most) * height;
    const box = (series, bin, left, kind, label) => make("svg:rect", {
      class: kind, x: (bin * step + left).toFixed(1), y: (height - place(series[bin])).toFixed(1),
      width: (step / 2 - 2).toFixed(1), height: place(series[bin]).toFixed(1),
    }, make("svg:title", {}, `${label}: ${four(series[bin])} ${series[bin] === 1 ? "text" : "texts"}`));
    const name = nameOf(data.reference, data);
    const words = `Parallel texts by their strongest activation, of ${feature.n}: ${name} ${total(home)} above zero`
      + (others.length ? `, the other languages ${four(total(mean))} on average.` : ".");
    const home_colour = data.languages[data.reference].colour;
    return [
      heading,
      make("p", { class: "note" }, words),
      make("svg:svg", { class: "explorer-histogram", viewBox: `0 -18 ${width} ${height + 36}`, role: "img", "aria-label": words, "--language": home_colour },
        home.map((_, bin) => [
          box(home, bin, 1, "home", name),
          others.length ? box(mean, bin, step / 2, "others", "mean of the other languages") : null,
        ]),
        make("svg:line", { x1: 0, x2: width, y1: height, y2: height }),
        make("svg:text", { x: 0, y: height + 14 }, "0"),
        make("svg:text", { x: width, y: height + 14, "text-anchor": "end" }, four(feature.mx)),
        make("svg:text", { x: width, y: -6, "text-anchor": "end" }, `highest bar: ${four(most)} ${most === 1 ? "text" : "texts"}`)),
      make("p", { class: "note" }, `Filled: ${name}.`, others.length ? " Outlined: mean of the other languages." : ""),
    ];
  }

  function detail(feature, group, model, data) {
    const facts = [];
    if (!missing(feature.g)) facts.push(`Gap ${fixed(feature.g, 1)}\u00a0%.`);
    if (!missing(feature.c)) {
      const share = missing(feature.s) ? "" : `, largest share of its firings in one language ${fixed(100 * feature.s, 0)}\u00a0%`;
      facts.push(`Class: ${className(feature.c, data)}${share}.`);
    }
    if (!missing(feature.x)) {
      facts.push(`Monosemanticity ${fixed(feature.m, 2)}, ${fixed(feature.x, 2)} beyond chance (paper C).`);
    }
    const link = feature.np ? make("p", {},
      make("a", { href: feature.np, rel: "noreferrer noopener", target: "_blank" }, "This feature on Neuronpedia")) : null;
    const where = `layer ${group.layer}, ${group.sae === "bilingual" ? "SAE of paper C, " : ""}${model.title}`;
    const texts = feature.p ? [
      make("h4", {}, feature.on === "texts" ? "Texts in every language" : "Phrases and their translations"), phrases(feature, model, data),
    ] : make("p", { class: "note" }, "Features of paper C's own SAE have no phrases: below are the texts that it was described by.");
    return [
      make("h3", {}, `Feature ${feature.f}`, make("span", { class: "note" }, ` ${where}`)),
      make("p", {}, facts.join(" ")), link,
      feature.say ? make("ul", {}, feature.say.map((sentence) => make("li", {}, sentence))) : null,
      texts, bars(feature, data), histogram(feature, data),
      make("h4", {}, "Strongest texts in each language"), contexts(feature, model, data),
    ].flat(3);
  }

  function start(root) {
    const source = root.querySelector('script[type="application/json"]');
    const data = JSON.parse(source.textContent);
    const state = { model: 0, group: 0, list: "", key: "", down: true, feature: null };
    const model = () => data.models[state.model];
    const group = () => model().groups[state.group];
    const controls = make("div", { class: "explorer-controls" });
    const table = make("table", { class: "explorer-list" });
    const panel = make("div", { class: "explorer-detail", role: "region", "aria-label": "The chosen feature", tabindex: "-1" });
    const status = make("p", { class: "note", role: "status" });

    function reset(part) {
      if (part === "model") state.group = 0;
      state.list = "";
      state.key = group().features.some((feature) => !missing(feature.g)) ? "g" : "x";
      state.down = true;
      state.feature = null;
    }

    function rows() {
      const of = group().features.filter((feature) => !state.list || (feature.l || []).includes(state.list));
      const sign = state.down ? -1 : 1;
      return of.sort((a, b) => {
        const [one, other] = [a[state.key], b[state.key]];
        if (missing(one) || missing(other)) return Number(missing(one)) - Number(missing(other));
        return sign * (typeof one === "string" ? one.localeCompare(other) : one - other) || a.f - b.f;
      });
    }

    function select(title, names, chosen, change) {
      const box = make("select", { on: { change: () => change(Number(box.value)) } },
        names.map((name, at) => make("option", { value: at, selected: at === chosen }, [...name].slice(0, 80).join(""))));
      return names.length > 1 ? make("label", {}, `${title} `, box) : null;
    }

    function drawControls() {
      const layers = model().groups.map((of) => `layer ${of.layer}${of.sae === "bilingual" ? " (paper C's SAE)" : ""}`);
      const lists = Object.keys(data.lists).filter((name) => group().features.some((feature) => (feature.l || []).includes(name)));
      const chips = lists.length < 2 ? null : make("div", { class: "chips", role: "group", "aria-label": "Which features" },
        ["", ...lists].map((name) => make("button", {
          type: "button", class: "button", "aria-pressed": String(state.list === name),
          on: { click: (event) => { state.list = name; state.feature = null; draw(event.currentTarget.textContent); } },
        }, name ? data.lists[name] : "All")));
      controls.replaceChildren(...[
        select("Model", data.models.map((one) => one.title), state.model, (at) => { state.model = at; reset("model"); draw(); }),
        select("Layer", layers, state.group, (at) => { state.group = at; reset("group"); draw(); }),
        chips,
      ].filter(Boolean));
    }

    function drawList(features) {
      const columns = COLUMNS.filter((column) => features.some((feature) => !missing(feature[column.key])));
      const sort = (key) => {
        state.down = state.key === key ? !state.down : key !== "f" && key !== "c";
        state.key = key;
        draw();
        table.querySelector(`button[data-key="${key}"]`).focus();
      };
      const head = columns.map(({ key, title, unit }) => make("th", {
        scope: "col", "aria-sort": state.key === key ? (state.down ? "descending" : "ascending") : null,
      }, make("button", { type: "button", "data-key": key, on: { click: () => sort(key) } },
        unit ? `${title} (${unit})` : title, make("span", { "aria-hidden": "true" }, state.key === key ? (state.down ? " \u25be" : " \u25b4") : ""))));
      const body = features.map((feature) => make("tr", { class: feature === state.feature ? "chosen" : null },
        columns.map((column) => (column.key === "f"
          ? make("th", { scope: "row" }, make("button", {
            type: "button", "data-feature": feature.f, "aria-current": feature === state.feature ? "true" : null,
            on: { click: () => choose(feature, true) },
          }, String(feature.f)))
          : make("td", { class: column.number ? "number" : null }, column.text(feature, data))))));
      table.replaceChildren(
        make("caption", { class: "note" }, `${features.length} feature${features.length === 1 ? "" : "s"}: choose one to see its texts`),
        make("thead", {}, make("tr", {}, head)), make("tbody", {}, body));
    }

    function choose(feature, byHand) {
      state.feature = feature;
      for (const row of table.tBodies[0].rows) {
        const button = row.querySelector("button");
        const own = button.dataset.feature === String(feature.f);
        row.classList.toggle("chosen", own);
        if (own) {
          button.setAttribute("aria-current", "true");
          const box = table.parentElement; // the list scrolls, not the page
          const beyond = box ? row.offsetTop + row.offsetHeight - box.clientHeight : 0;
          if (box) box.scrollTop = Math.min(Math.max(box.scrollTop, beyond), row.offsetTop - table.tHead.offsetHeight);
        } else button.removeAttribute("aria-current");
      }
      panel.replaceChildren(...detail(feature, group(), model(), data).filter(Boolean));
      if (byHand) {
        status.textContent = `Feature ${feature.f} is shown.`;
        const hash = `#explorer-${model().name}-${group().layer}-${group().sae}-${feature.f}`;
        try { history.replaceState(null, "", hash); } catch { /* a page within a page may not */ }
      }
    }

    function draw() {
      drawControls();
      const features = rows();
      if (!features.includes(state.feature)) state.feature = features[0] || null;
      drawList(features);
      if (state.feature) choose(state.feature, false);
      else panel.replaceChildren(make("p", {}, "No feature is in this list."));
    }

    function step(event) {
      const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!way || !event.target.dataset.feature) return;
      event.preventDefault();
      const buttons = [...table.querySelectorAll("button[data-feature]")];
      const next = buttons[buttons.indexOf(event.target) + way];
      if (next) { next.focus(); next.click(); }
    }

    function go(at, of, feature) {
      state.model = at;
      state.group = of;
      reset("group");
      state.feature = feature;
      draw();
    }

    /* The page's search: each feature that has the words in a text, or that is called so, as what shows it. */
    const lower = [];
    function search({ detail: { wanted, fold, found } }) {
      for (const text of panel.querySelectorAll(".matched")) text.classList.remove("matched");
      if (!wanted) return;
      data.models.forEach((one, at) => {
        lower[at] ||= one.texts.map((tokens) => fold(tokens.join("")));
        const having = new Set(lower[at].flatMap((text, number) => (text.includes(wanted) ? [number] : [])));
        one.groups.forEach((part, of) => {
          for (const feature of part.features) {
            const spans = [...(feature.p || []).flatMap((phrase) => Object.values(phrase.v)), ...Object.values(feature.t || {}).flat()];
            const called = wanted === `feature ${feature.f}`;
            if (called || spans.some(([number]) => having.has(number))) {
              found.push({ words: `feature ${feature.f}`, show: () => reveal(at, of, feature, wanted, fold) });
            }
          }
        });
      });
    }
    function reveal(at, of, feature, wanted, fold) {
      go(at, of, feature);
      const texts = [...panel.querySelectorAll(".explorer-text")].filter((text) => fold(text.textContent).includes(wanted));
      for (const text of texts) text.classList.add("matched");
      (texts[0] || panel).scrollIntoView({ block: texts.length ? "center" : "start" });
    }

    function address() {
      try {
        return decodeURIComponent(location.hash);
      } catch (error) {
        return location.hash; // a percent sign that stands for itself
      }
    }
    function follow() {
      const match = address().match(/^#explorer-(.+)-(\d+)-(phrases|bilingual)-(\d+)$/);
      if (!match) return;
      const at = data.models.findIndex((one) => one.name === match[1]);
      const of = at < 0 ? -1 : data.models[at].groups.findIndex((one) => one.layer === Number(match[2]) && one.sae === match[3]);
      const feature = of < 0 ? null : data.models[at].groups[of].features.find((one) => one.f === Number(match[4]));
      if (!feature) return;
      go(at, of, feature);
      root.scrollIntoView();
    }

    table.addEventListener("keydown", step);
    window.addEventListener("hashchange", follow);
    document.addEventListener("isogloss:search", search);
    reset("model");
    draw();
    const fixedPart = root.querySelector(".explorer-static");
    if (fixedPart) fixedPart.remove();
    root.append(controls, make("div", { class: "explorer-main" },
      make("div", { class: "explorer-scroll", tabindex: "0", role: "region", "aria-label": "List of features" }, table), panel), status);
    follow();
  }

  for (const root of document.querySelectorAll(".js-explorer")) start(root);
})();
