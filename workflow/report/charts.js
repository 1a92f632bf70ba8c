// The interactive charts: each `.js-chart` holds its Vega-Lite specification as JSON and is drawn as it comes near
// the screen, all of them before print. `.js-languages` highlights one language in every chart, a click on a mark or
// on a legend does too; any part of the page can, by the event `isogloss:language` with the code or "" as its detail.
(() => {
  "use strict";

  const charts = [];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  let language = "";
  let printing = false;

  // Colours

  const INK = "#222222"; // of lines in the specifications
  const LIGHT = { ink: INK, faint: "#595959", paper: "#ffffff", rule: "#e2e2e2" };

  const palette = () => {
    if (printing) return LIGHT;
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(`--${name}`).trim() || LIGHT[name];
    return { ink: read("ink"), faint: read("faint"), paper: read("paper"), rule: read("rule") };
  };

  const channels = (hex) => {
    const long = hex.length === 4 ? hex.replace(/[0-9a-f]/gi, "$&$&") : hex;
    return [1, 3, 5].map((at) => parseInt(long.slice(at, at + 2), 16));
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((one) => {
      const share = one / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const isHex = (text) => /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.test(text);

  // A colour that is too dark for a dark page, mixed with white until its contrast is 4 : 1.
  const legible = (hex, paper) => {
    if (!isHex(paper)) return hex;
    const ground = luminance(channels(paper));
    if (ground > 0.2) return hex;
    const own = channels(hex);
    for (let white = 0; white <= 1; white += 0.1) {
      const mixed = own.map((one) => Math.round(one + (255 - one) * white));
      if ((luminance(mixed) + 0.05) / (ground + 0.05) >= 4) {
        return "#" + mixed.map((one) => one.toString(16).padStart(2, "0")).join("");
      }
    }
    return "#ffffff";
  };

  // A specification's colours for the page's ground; rows of data are left alone.
  const recoloured = (part, paper) => {
    if (part === INK) return palette().ink;
    if (typeof part === "string") return isHex(part) ? legible(part, paper) : part;
    if (Array.isArray(part)) return part.map((one) => recoloured(one, paper));
    if (!part || typeof part !== "object") return part;
    const kept = ([key, one]) => [key, key === "datasets" || key === "data" ? one : recoloured(one, paper)];
    return Object.fromEntries(Object.entries(part).map(kept));
  };

  const theme = (width) => {
    const { ink, faint, paper, rule } = palette();
    const font = getComputedStyle(document.body).fontFamily;
    const label = Math.max(90, Math.min(230, width * 0.4));
    return {
      background: "transparent",
      font,
      mark: { aria: false },
      point: { stroke: paper, strokeWidth: 0.5 },
      view: { stroke: null },
      title: { color: ink, anchor: "start", fontSize: 13, limit: width },
      header: { labelColor: ink, labelAnchor: "start", labelFontSize: 12, labelFontWeight: "bold", labelPadding: 4 },
      axis: {
        labelColor: ink, titleColor: ink, domainColor: faint, tickColor: faint, gridColor: rule,
        labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", labelLimit: label,
      },
      axisX: { tickCount: { expr: "max(3, min(8, width / 60))" } },
      axisQuantitative: { tickCount: 6 },
      legend: {
        orient: "bottom", columns: Math.max(1, Math.floor(width / 190)), labelColor: ink, titleColor: ink,
        labelFontSize: 11.5, titleFontSize: 11.5, labelLimit: Math.min(300, width - 60), titleLimit: width - 60, symbolLimit: 60,
        gradientLength: Math.min(260, width - 80), symbolSize: 80, symbolStrokeWidth: 2,
        symbolBaseFillColor: ink, symbolBaseStrokeColor: ink,
      },
      range: { heatmap: { scheme: "cividis" } },
    };
  };

  // Drawing

  const PRINTED = 680; // width on A4, in pixels of CSS
  const LEAST = 270; // width of a panel, and on paper
  const LEAST_PRINTED = 215;
  const LETTER = 6.6; // width of one in a title

  // Lines of a title that are no longer than its panel is wide.
  const broken = (title, width) => {
    const most = Math.max(12, Math.floor(width / LETTER));
    return title.split("\n").flatMap((line) => {
      const lines = [""];
      const words = line.split(" ").flatMap((word) => word.match(new RegExp(`.{1,${most}}`, "gu")) || [""]);
      for (const word of words) {
        const longer = `${lines.at(-1)} ${word}`.trim();
        if (longer.length <= most || !lines.at(-1)) lines[lines.length - 1] = longer;
        else lines.push(word);
      }
      return lines;
    });
  };

  // The specification with panels as wide as the page has room for.
  const fitted = (spec, width) => {
    const { columns: most = 1, square = 0 } = spec.usermeta || {};
    const matrix = Math.max(190, 34 * square);
    if (!spec.facet) {
      const title = spec.title && { ...spec.title, text: [spec.title.text].flat().flatMap((one) => broken(one, width)) };
      const side = Math.min(width - 80, matrix);
      const shape = square ? { width: side, height: side, autosize: "pad" } : {};
      return { ...spec, ...(title ? { title } : {}), ...shape };
    }
    const columns = Math.max(1, Math.min(most, Math.floor(width / (printing ? LEAST_PRINTED : LEAST))));
    const side = Math.max(120, Math.floor(width / columns) - 80);
    const shape = square ? { width: Math.min(side, matrix), height: Math.min(side, matrix) } : { width: side };
    const params = spec.params.map((one) =>
      one.name === "panels" ? { ...one, value: one.value.map((title) => broken(title, side).join("\n")) } : one,
    );
    const rows = Math.ceil(spec.params.find((one) => one.name === "panels").value.length / columns);
    const lower = printing && !square ? { height: Math.min(spec.spec.height, Math.max(90, 720 / rows - 75)) } : {};
    return { ...spec, params, columns, spacing: { row: 30, column: 18 }, spec: { ...spec.spec, ...shape, ...lower } };
  };

  // The panels of a drawn chart, wider or narrower by what its axes left or took.
  const refitted = async (chart, spec, width) => {
    if (!spec.facet) return;
    const over = chart.host.querySelector("svg").width.baseVal.value - width;
    const was = chart.view.signal("child_width");
    const side = Math.max(110, Math.floor(was - over / spec.columns) - 1);
    if (side === was || (over < 0 && spec.usermeta.square && spec.spec.width >= 34 * spec.usermeta.square)) return;
    if (spec.usermeta.square) chart.view.signal("child_height", side);
    await chart.view.signal("child_width", side).resize().runAsync();
  };

  const download = (name, kind, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  // The chart's rows as CSV (RFC 4180); numbers as the tables have them.
  const csv = (spec) => {
    const rows = Object.values(spec.datasets || {}).flat();
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((name) => name !== "panel");
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = [columns, ...rows.map((row) => columns.map((name) => row[name]))];
    return lines.map((line) => line.map(cell).join(",") + "\r\n").join("");
  };

  const known = (chart, code) => (chart.spec.usermeta?.languages || []).includes(code);

  const show = (chart) => {
    if (!chart.view) return;
    chart.view.signal("language", known(chart, language) ? language : "").runAsync();
  };

  const listen = (chart) => {
    chart.view.addEventListener("click", (_, item) => {
      const code = item?.datum?.lang;
      if (typeof code === "string" && known(chart, code)) highlight(code === language ? "" : code);
    });
    try {
      chart.view.addSignalListener("pick", (_, picked) => {
        const [code] = picked?.lang || [""];
        if (code !== undefined && code !== language) highlight(code);
      });
    } catch {
      // a chart without a legend of languages has no such signal
    }
  };

  // The controls of a redrawn chart as the reader left them.
  const settings = (chart) => {
    if (!chart.view) return [];
    const bound = (chart.spec.params || []).filter((one) => one.bind && one.bind !== "legend");
    return bound.map((one) => [one.name, chart.view.signal(one.name)]);
  };

  const draw = async (chart) => {
    const width = Math.floor(printing ? Math.min(PRINTED, chart.host.clientWidth) : chart.host.clientWidth);
    if (width < 40) return; // within a fold that is closed
    const state = `${width} ${printing} ${palette().paper}`;
    if (chart.state === state) return;
    chart.state = state;
    const kept = new Map(settings(chart));
    const spec = fitted(recoloured(chart.spec, palette().paper), width);
    spec.description = chart.element.dataset.description || "";
    if (spec.params) {
      spec.params = spec.params.map((one) => (kept.has(one.name) ? { ...one, value: kept.get(one.name) } : one));
    }
    const name = chart.element.dataset.name || "chart";
    const options = {
      renderer: "svg",
      ast: true, // expressions are interpreted: the page's policy forbids to compile them
      config: theme(width),
      actions: printing ? false : { export: true, source: false, compiled: false, editor: false },
      downloadFileName: name,
      i18n: { SVG_ACTION: "Save as SVG", PNG_ACTION: "Save as PNG", CLICK_TO_VIEW_ACTIONS: "Save the chart or its data" },
      tooltip: { theme: "custom" },
    };
    const { view } = await window.vegaEmbed(chart.host, spec, options);
    if (chart.state !== state) return; // drawn again meanwhile
    chart.view?.finalize();
    chart.view = view;
    await refitted(chart, spec, width);
    chart.element.classList.add("drawn");
    // The menu's head is a picture alone: a name for those who do not see it.
    chart.host.querySelector("details > summary")?.setAttribute("aria-label", options.i18n.CLICK_TO_VIEW_ACTIONS);
    const menu = chart.host.querySelector(".vega-actions");
    if (menu) {
      const link = document.createElement("a");
      link.href = "#";
      link.textContent = "Save data as CSV";
      link.addEventListener("click", (event) => {
        event.preventDefault();
        download(`${name}.csv`, "text/csv", csv(chart.spec));
      });
      menu.append(link);
    }
    listen(chart);
    show(chart);
  };

  const failed = (chart) => (error) => {
    const said = document.createElement("p");
    said.className = "chart-none";
    said.textContent = `This chart could not be drawn: ${error.message}`;
    chart.host.replaceChildren(said);
  };
  const redraw = (chart) => draw(chart).catch(failed(chart));

  // Highlight

  const highlight = (code) => {
    if (code === language) return;
    document.dispatchEvent(new CustomEvent("isogloss:language", { detail: code }));
  };

  const mark = () => {
    for (const bar of document.querySelectorAll(".js-languages")) {
      for (const chip of bar.querySelectorAll("button")) {
        chip.setAttribute("aria-pressed", String(chip.dataset.lang === language));
      }
      const list = bar.querySelector("select");
      if (list) list.value = language;
    }
  };

  document.addEventListener("isogloss:language", (event) => {
    language = event.detail || "";
    mark();
    charts.forEach(show);
  });

  const bars = () => {
    for (const bar of document.querySelectorAll(".js-languages")) {
      bar.addEventListener("click", (event) => {
        const chip = event.target.closest("button");
        if (chip) highlight(chip.dataset.lang === language ? "" : chip.dataset.lang);
      });
      bar.querySelector("select")?.addEventListener("change", (event) => highlight(event.target.value));
      for (const path of bar.querySelectorAll("path")) path.dataset.fill ||= path.getAttribute("fill");
    }
    swatches();
  };
  const swatches = () => {
    for (const path of document.querySelectorAll(".js-languages path")) {
      path.setAttribute("fill", legible(path.dataset.fill, palette().paper));
    }
  };

  // Start

  const start = () => {
    bars();
    const near = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          const chart = charts.find((one) => one.element === entry.target);
          if (chart) chart.near = entry.isIntersecting;
          if (entry.isIntersecting) redraw(chart);
        }
      },
      { rootMargin: "600px 0px" },
    );
    let waiting = 0;
    const resized = new ResizeObserver(() => {
      clearTimeout(waiting);
      waiting = setTimeout(() => charts.filter((one) => one.near).forEach(redraw), still.matches ? 0 : 120);
    });
    for (const element of document.querySelectorAll(".js-chart")) {
      const host = element.querySelector(".chart-view");
      const data = element.querySelector('script[type="application/json"]');
      if (!host || !data || !window.vegaEmbed) continue;
      const chart = { element, host, spec: JSON.parse(data.textContent), state: "", view: null, near: false };
      element.classList.add("ready");
      charts.push(chart);
      near.observe(element);
      resized.observe(element);
    }
    const themed = () => {
      swatches();
      charts.filter((one) => one.view).forEach(redraw);
    };
    dark.addEventListener("change", themed);
    new MutationObserver(themed).observe(document.documentElement, { attributeFilter: ["data-theme", "class"] });
    window.addEventListener("beforeprint", () => {
      printing = true;
      charts.forEach(redraw);
    });
    window.addEventListener("afterprint", () => {
      printing = false;
      charts.filter((one) => one.view).forEach(redraw);
    });
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
