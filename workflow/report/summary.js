/* The page summary.html: theme, contents, links into folds, search over the whole text, print. */
(function () {
  "use strict";
  const root = document.documentElement;
  const main = document.getElementById("main");
  const fire = (name) => document.dispatchEvent(new CustomEvent(name));

  // Theme
  const switcher = document.querySelector(".theme");
  const showTheme = () => switcher.setAttribute("aria-pressed", String(root.dataset.theme === "dark"));
  const setTheme = (theme) => {
    root.dataset.theme = theme;
    showTheme();
    fire("isogloss:theme");
  };
  showTheme();
  switcher.addEventListener("click", () => {
    setTheme(root.dataset.theme === "dark" ? "light" : "dark");
    try {
      localStorage.setItem("isogloss-theme", root.dataset.theme);
    } catch (error) {
      /* no storage in this frame: the choice holds for this visit */
    }
  });

  // What the chips of the languages cover below the bar, a link must not scroll under.
  const measureChips = () => {
    const chips = document.querySelector(".chips");
    root.style.setProperty("--chips", `${chips ? chips.offsetHeight : 0}px`);
  };
  window.addEventListener("resize", measureChips);
  measureChips();

  // Folds: a link, a match or print opens whatever lies round its goal.
  const openRound = (element) => {
    for (let at = element; at && at !== main; at = at.parentElement) {
      if (at.tagName === "DETAILS") at.open = true;
    }
  };
  const goTo = (id) => {
    const goal = id && document.getElementById(id);
    if (!goal) return false;
    openRound(goal);
    goal.scrollIntoView();
    return true;
  };
  const hashId = (hash) => {
    try {
      return decodeURIComponent(hash.slice(1));
    } catch (error) {
      return hash.slice(1);
    }
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest('a[href^="#"]');
    if (!link) return;
    const id = hashId(link.getAttribute("href"));
    if (id === "main") return;
    if (!goTo(id)) return;
    event.preventDefault();
    try {
      history.pushState(null, "", link.getAttribute("href"));
    } catch (error) {
      /* a page within a page has no address of its own */
    }
    closeMenu();
  });
  window.addEventListener("hashchange", () => goTo(hashId(location.hash)));
  if (location.hash) goTo(hashId(location.hash));

  const openAll = document.querySelector(".open-all");
  const sections = () => [...document.querySelectorAll(".evidence > details.section")];
  openAll.addEventListener("click", () => {
    const open = openAll.getAttribute("aria-pressed") !== "true";
    sections().forEach((section) => (section.open = open));
    openAll.setAttribute("aria-pressed", String(open));
    openAll.textContent = open ? "Close all" : "Open all";
  });

  // Contents
  const menu = document.querySelector(".menu");
  const contents = document.getElementById("contents");
  const closeMenu = () => {
    contents.classList.remove("open");
    menu.setAttribute("aria-expanded", "false");
  };
  menu.addEventListener("click", () => {
    const open = contents.classList.toggle("open");
    menu.setAttribute("aria-expanded", String(open));
    if (open) contents.querySelector("a").focus();
  });
  contents.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      closeMenu();
      menu.focus();
    }
  });
  const links = new Map([...contents.querySelectorAll("a")].map((link) => [hashId(link.getAttribute("href")), link]));
  let chosen = 0; // when a link was followed: the page that passes by until then is not where the reader is
  const markCurrent = (id) => {
    for (const link of links.values()) link.removeAttribute("aria-current");
    if (links.has(id)) links.get(id).setAttribute("aria-current", "true");
  };
  contents.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    chosen = performance.now();
    markCurrent(hashId(link.getAttribute("href")));
  });
  const seen = new IntersectionObserver(
    (entries) => {
      if (performance.now() - chosen < 1000) return;
      for (const entry of entries) if (entry.isIntersecting) markCurrent(entry.target.id);
    },
    { rootMargin: "-10% 0px -75% 0px" },
  );
  for (const id of links.keys()) {
    const goal = document.getElementById(id);
    if (goal) seen.observe(goal);
  }

  // Search
  const MOST = 2000; // matches that are marked
  const input = document.getElementById("search");
  const output = document.querySelector(".matches");
  let marks = [];
  let features = []; // of the explorer, which has its texts as data: {words, show}
  let current = -1;
  let waiting = 0;
  const clear = () => {
    for (const mark of marks) {
      const parent = mark.parentNode;
      if (!parent) continue;
      parent.replaceChild(document.createTextNode(mark.textContent), mark);
      parent.normalize();
    }
    marks = [];
    features = [];
    current = -1;
  };
  const searched = (node) => {
    const parent = node.parentElement;
    return parent && !parent.closest("script, style, [data-nosearch], svg") ? NodeFilter.FILTER_ACCEPT : NodeFilter.FILTER_REJECT;
  };
  // Letters alike in both cases, as many as before, so that places are those of the text: İ alone has a longer small one.
  const fold = (text) => text.replaceAll("\u0130", "i").toLowerCase().replaceAll("\u03c2", "\u03c3");
  const markIn = (node, wanted) => {
    let rest = node;
    let at = fold(rest.data).indexOf(wanted);
    while (at >= 0 && marks.length < MOST) {
      const found = rest.splitText(at);
      rest = found.splitText(wanted.length);
      const mark = document.createElement("mark");
      found.parentNode.replaceChild(mark, found);
      mark.appendChild(found);
      marks.push(mark);
      at = fold(rest.data).indexOf(wanted);
    }
  };
  const step = (by) => {
    const all = marks.length + features.length;
    if (!all) return;
    if (marks[current]) marks[current].classList.remove("current");
    current = current < 0 && by < 0 ? all - 1 : (current + by + all) % all;
    const mark = marks[current];
    const feature = features[current - marks.length];
    if (mark) {
      mark.classList.add("current");
      openRound(mark);
      mark.scrollIntoView({ block: "center" });
    } else feature.show();
    const which = feature ? ` (${feature.words})` : "";
    output.textContent = `${current + 1} of ${all}${marks.length === MOST ? "+" : ""}${which}`;
  };
  const search = () => {
    clear();
    const wanted = fold(input.value.trim());
    const asked = { wanted: wanted.length < 2 ? "" : wanted, fold, found: [] };
    document.dispatchEvent(new CustomEvent("isogloss:search", { detail: asked }));
    features = asked.found;
    if (wanted.length < 2) {
      output.textContent = "";
      return;
    }
    fire("isogloss:show");
    const walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT, { acceptNode: searched });
    const nodes = [];
    while (walker.nextNode()) if (fold(walker.currentNode.data).includes(wanted)) nodes.push(walker.currentNode);
    for (const node of nodes) {
      if (marks.length >= MOST) break;
      markIn(node, wanted);
    }
    if (marks.length + features.length) step(1);
    else output.textContent = "none";
  };
  const searchSoon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 200);
  };
  input.addEventListener("input", searchSoon);
  input.form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    if (marks.length + features.length) step(1);
    else search();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      input.value = "";
      search();
    } else if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      step(-1);
    }
  });
  for (const button of document.querySelectorAll(".search [data-step]")) {
    button.addEventListener("click", () => step(Number(button.dataset.step)));
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest && event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      input.focus();
    }
  });

  // Print: everything open, in light colours; as it was afterwards.
  let before = null;
  window.addEventListener("beforeprint", () => {
    if (before) return;
    const folds = [...document.querySelectorAll("details:not(.long)")];
    before = { theme: root.dataset.theme, closed: folds.filter((fold) => !fold.open) };
    before.closed.forEach((fold) => (fold.open = true));
    setTheme("light");
    fire("isogloss:show");
  });
  window.addEventListener("afterprint", () => {
    if (!before) return;
    before.closed.forEach((fold) => (fold.open = false));
    setTheme(before.theme);
    before = null;
  });
})();
