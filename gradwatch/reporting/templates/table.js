
(() => {
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const value = /^-?inf$/.test(text) ? (text === "inf" ? Infinity : -Infinity) : Number(text);
    return text === "nan" || text === "" ? null : Number.isNaN(value) ? text : value;
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number"
    ? (a < b ? -1 : Number(a > b)) : String(a).localeCompare(String(b), undefined, { numeric: true });

  const makeSortable = (table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const sortBy = (column) => {
      const before = heads[column].getAttribute("aria-sort");
      const numbers = heads[column].classList.contains("gw-num") && column > 0;
      // Of numbers the large ones are what one looks for; ranks, names and shapes begin at the start.
      const down = before === null ? numbers : before === "ascending";
      heads.forEach((head) => head.removeAttribute("aria-sort"));
      heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row) => [keyOf(row, column), row]);
      keyed.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return down ? compare(b, a) : compare(a, b);
      });
      body.append(...keyed.map(([, row]) => row));
    };
    heads.forEach((head, column) => {
      if ("fixed" in head.dataset) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(column));
      head.append(button);
    });
  };

  const makeFilter = (root, table) => {
    const find = (selector) => root.querySelector(selector);
    const controls = find(".gw-controls");
    const search = find(".gw-search");
    const kinds = find(".gw-kinds");
    const oneScale = find("input.gw-one-scale");
    const nothing = find(".gw-nothing");
    const output = controls.querySelector("output");
    const rows = [...table.tBodies[0].rows];
    const texts = rows.map((row) => [1, 3, 4].map((column) => row.cells[column].textContent).join(" ").toLowerCase());
    const apply = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const kind = kinds ? kinds.value : "";
      rows.forEach((row, index) => {
        row.hidden = !(words.every((word) => texts[index].includes(word))
          && (!kind || row.dataset.kinds.split(" ").includes(kind)));
      });
      const shown = rows.filter((row) => !row.hidden).length;
      output.textContent = `${shown} of ${rows.length} shown`;
      controls.classList.toggle("gw-filtered", shown < rows.length);
      nothing.hidden = shown > 0;
      table.tBodies[0].hidden = shown === 0;
    };
    const showAll = () => {
      search.value = "";
      if (kinds) kinds.value = "";
      apply();
    };
    search.addEventListener("input", apply);
    if (kinds) kinds.addEventListener("change", apply);
    oneScale.addEventListener("change", () => table.classList.toggle("gw-common", oneScale.checked));
    nothing.querySelector("button").addEventListener("click", () => { showAll(); search.focus(); });
    // A link to a row that is filtered out has to lead somewhere.
    root.addEventListener("click", (event) => {
      const link = event.target.closest("a[href^='#variable-']");
      const row = link && document.getElementById(link.hash.slice(1));
      if (row && row.hidden) showAll();
    });
    controls.hidden = false;
    oneScale.checked = false;
    showAll();
  };

  document.querySelectorAll(".gradwatch-report:not([data-ready])").forEach((root) => {
    root.dataset.ready = "";
    root.querySelectorAll(".gw-sortable").forEach(makeSortable);
    const table = root.querySelector(".gw-variables");
    if (table) makeFilter(root, table);
  });
})();
