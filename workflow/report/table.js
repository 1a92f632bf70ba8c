// Tables of a page: sort by any column, filter, show all rows, download. All that is shown is there without this script.
(() => {
  "use strict";
  const LONG = 200; // rows above which a table begins with its first ones
  const FIRST = 50;
  const CHOOSERS = 3; // lists of values, at most
  const SHORT = 8; // rows below which there is nothing to filter
  const NONE = "–";
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // An element with attributes and text; text of the data is never read as HTML.
  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  };

  const numberIn = (text) => {
    const match = /-?\d[\d,]*(\.\d+)?(e[-+]?\d+)?/i.exec(text.replaceAll("−", "-"));
    if (!match) return null;
    const value = Number(match[0].replaceAll(",", ""));
    return text.trim().startsWith("<") ? value / 2 : value; // "< 0.001" comes before 0.001
  };

  const unpack = async (packed) => {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };

  const handOut = async (event) => {
    const link = event.currentTarget;
    event.preventDefault();
    const content = await unpack(link.dataset.gzip);
    const url = URL.createObjectURL(new Blob([content], { type: link.dataset.type }));
    const anchor = make("a", { href: url, download: link.getAttribute("download") });
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  };

  const offerDownloads = (root) => {
    if (!("DecompressionStream" in window)) return; // the Parquet link leads to the file then
    for (const link of root.querySelectorAll(".js-download[data-gzip]")) {
      link.hidden = false;
      if (!link.hasAttribute("href")) link.setAttribute("href", "#");
      link.setAttribute("role", "button");
      link.addEventListener("click", handOut);
      link.addEventListener("keydown", (event) => {
        if (event.key === " ") handOut(event);
      });
    }
  };

  const enhance = (root) => {
    offerDownloads(root);
    const table = root.querySelector("table");
    if (!table || table.tHead === null) return;
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const titles = heads.map((head) => head.textContent);
    const tools = root.querySelector(".table-tools");
    const state = { column: -1, falling: false, words: "", chosen: new Map(), all: original.length <= LONG };
    const texts = new Map(original.map((row) => [row, row.textContent.toLocaleLowerCase("en")]));
    const counted = make("span", { class: "count", role: "status" });
    const more = make("button", { type: "button", class: "button" });

    const sorted = () => {
      if (state.column < 0) return original;
      const words = heads[state.column].classList.contains("t");
      const keyed = original.map((row) => {
        const text = row.cells[state.column].textContent;
        return { row, key: text === NONE || text === "" ? null : words ? text : numberIn(text) };
      });
      const way = state.falling ? -1 : 1;
      keyed.sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null); // undefined ones last
        return way * (words ? collator.compare(a.key, b.key) : a.key - b.key);
      });
      return keyed.map((one) => one.row);
    };

    const fits = (row) =>
      texts.get(row).includes(state.words) &&
      [...state.chosen].every(([column, value]) => row.cells[column].textContent === value);

    const draw = () => {
      const rows = sorted();
      let shown = 0;
      let fitting = 0;
      let above = null;
      for (const row of rows) {
        const out = !fits(row);
        if (!out) fitting += 1;
        const past = !out && !state.all && fitting > FIRST;
        row.classList.toggle("out", out);
        row.classList.toggle("past", past);
        const key = row.cells[0].textContent;
        row.classList.toggle("first", state.column <= 0 && key !== above);
        if (out || past) continue;
        above = key;
        shown += 1;
      }
      body.append(...rows);
      heads.forEach((head, column) => {
        if (column !== state.column) head.removeAttribute("aria-sort");
        else head.setAttribute("aria-sort", state.falling ? "descending" : "ascending");
      });
      counted.textContent = shown === original.length ? "" : `${shown} of ${original.length} rows`;
      more.textContent = `Show all ${fitting} rows`;
      more.hidden = state.all || fitting <= FIRST;
    };

    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, titles[column]);
      if (head.classList.contains("i")) button.setAttribute("aria-label", `${titles[column]} of ${titles[column - 1]}`);
      button.addEventListener("click", () => {
        if (state.column !== column) Object.assign(state, { column, falling: false });
        else if (!state.falling) state.falling = true;
        else Object.assign(state, { column: -1, falling: false }); // a third time: as it was
        draw();
      });
      head.replaceChildren(button);
    });

    if (tools && original.length >= SHORT) {
      const filters = [];
      const box = make("input", { type: "search", autocomplete: "off" });
      box.addEventListener("input", () => {
        state.words = box.value.trim().toLocaleLowerCase("en");
        draw();
      });
      const label = make("label", {}, "Filter");
      label.append(box);
      filters.push(label);
      const columns = heads.map((_, column) => column).filter((column) => heads[column].hasAttribute("data-choices"));
      for (const column of columns.slice(0, CHOOSERS)) {
        const list = make("select");
        list.append(make("option", { value: "" }, "all"));
        const values = new Set(original.map((row) => row.cells[column].textContent));
        for (const value of values) list.append(make("option", { value }, value));
        list.addEventListener("change", () => {
          if (list.value === "") state.chosen.delete(column);
          else state.chosen.set(column, list.value);
          draw();
        });
        const chooser = make("label", {}, titles[column]);
        chooser.append(list);
        filters.push(chooser);
      }
      more.addEventListener("click", () => {
        state.all = true;
        draw();
      });
      tools.prepend(...filters, counted, more);
    }
    draw();
  };

  document.querySelectorAll(".js-table").forEach(enhance);
})();
