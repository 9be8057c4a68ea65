"use strict";
// Everything that the page says is there without this script, which adds: uncovering, sorting, filtering, copying.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, words, properties = {}) => Object.assign(document.createElement(tag), { textContent: words }, properties);

  function coverThumbnails() {
    const buttons = all(".reveal");
    const showAll = document.getElementById("show-all");
    const ask = document.getElementById("ask");
    const set = (button, isShown) => {
      const image = button.parentElement.querySelector(".thumbnail");
      image.classList.toggle("is-shown", isShown);
      image.alt = isShown ? "Thumbnail" : "Thumbnail, covered";
      button.setAttribute("aria-pressed", String(isShown));
      button.textContent = isShown ? "Cover" : "Show";
    };
    const isAnyShown = () => buttons.some((button) => button.getAttribute("aria-pressed") === "true");
    const tell = () => {
      if (showAll) showAll.textContent = isAnyShown() ? "Cover all thumbnails" : "Show all thumbnails…";
    };
    for (const button of buttons) {
      button.hidden = false;
      button.addEventListener("click", () => {
        set(button, button.getAttribute("aria-pressed") !== "true");
        tell();
      });
    }
    if (!showAll || !ask || buttons.length === 0) return;
    showAll.parentElement.hidden = false;
    showAll.setAttribute("aria-expanded", "false");
    showAll.setAttribute("aria-controls", "ask");
    const open = (isOpen) => {
      ask.hidden = !isOpen;
      showAll.setAttribute("aria-expanded", String(isOpen));
    };
    showAll.addEventListener("click", () => {
      if (isAnyShown()) {
        buttons.forEach((button) => set(button, false));
        tell();
      } else {
        open(true);
        document.getElementById("ask-no").focus();
      }
    });
    document.getElementById("ask-no").addEventListener("click", () => { open(false); showAll.focus(); });
    document.getElementById("ask-yes").addEventListener("click", () => {
      buttons.forEach((button) => set(button, true));
      open(false);
      tell();
      showAll.focus();
    });
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const headers = all("th", table.tHead);
    headers.forEach((header, column) => {
      const kind = header.dataset.sort;
      if (!kind) return;
      const words = header.textContent.trim();
      const button = make("button", words, { type: "button" });
      // Where a table goes on on the next sheet, its head is printed again, but for buttons.
      header.replaceChildren(button, make("span", words, { className: "print-only" }));
      button.addEventListener("click", () => {
        const isUp = header.getAttribute("aria-sort") ? header.getAttribute("aria-sort") === "descending" : kind === "text";
        const value = (row) => row.cells[column].dataset.value;
        const order = kind === "text"
          ? (a, b) => value(a).localeCompare(value(b))
          : (a, b) => Number(value(a)) - Number(value(b));
        const rows = [...body.rows].sort((a, b) => (isUp ? order(a, b) : order(b, a)));
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", isUp ? "ascending" : "descending");
        body.append(...rows);
      });
    });
  }

  function filterable(table, tools) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length <= 15) return;
    table.classList.add("is-short");
    const nMore = Number(tools.dataset.nMore);
    const among = nMore > 0 ? ` among the ${rows.length} of this table` : "";
    const label = make("label", `Find a class${among} `);
    const field = make("input", "", { type: "search", autocomplete: "off" });
    const count = make("span", "", { className: "fine" });
    count.setAttribute("role", "status");
    const more = make("button", `Show all ${rows.length} rows`, { type: "button" });
    label.append(field);
    tools.append(label, more, count);
    const shorten = (isShort) => {
      table.classList.toggle("is-short", isShort);
      more.hidden = !isShort;
    };
    more.addEventListener("click", () => shorten(false));
    field.addEventListener("input", () => {
      const words = field.value.trim().toLowerCase();
      if (words) shorten(false);
      let n = 0;
      for (const row of rows) {
        row.hidden = words !== "" && !row.cells[0].dataset.value.toLowerCase().includes(words);
        n += row.hidden ? 0 : 1;
      }
      const rest = nMore > 0 ? `; the ${nMore.toLocaleString("en")} classes that only classes.csv holds were not searched` : "";
      count.textContent = words ? `${n} of ${rows.length} rows${rest}` : "";
    });
  }

  function copyable(button) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy);
      getSelection().selectAllChildren(text);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected";
      }
    });
  }

  function follow(links) {
    const targets = new Map(links.map((link) => [document.querySelector(link.getAttribute("href")), link]));
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        links.forEach((link) => link.classList.toggle("is-here", link === targets.get(entry.target)));
      }
    }, { rootMargin: "-20% 0px -70% 0px" });
    targets.forEach((_, section) => watch.observe(section));
  }

  coverThumbnails();
  const classes = document.getElementById("class-table");
  if (classes) {
    sortable(classes);
    filterable(classes, document.querySelector("[data-tools=classes]"));
  }
  all("[data-copy]").forEach(copyable);
  follow(all("nav a"));
})();
