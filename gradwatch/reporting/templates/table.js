(() => {
  const setUp = (root) => {
    const table = root.querySelector(".gw-variables");
    if (!table) return;
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const keyOf = (row, column) => {
      const cell = row.cells[column];
      const text = cell.dataset.value ?? cell.textContent.trim();
      const value = /^-?inf$/.test(text) ? (text === "inf" ? Infinity : -Infinity) : Number(text);
      return text === "nan" || text === "" ? null : Number.isNaN(value) ? text : value;
    };
    const compare = (a, b) => typeof a === "number" && typeof b === "number"
      ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
    const heads = [...table.tHead.rows[0].cells];
    const sortBy = (column) => {
      const down = heads[column].getAttribute("aria-sort") === "ascending";
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
    const filter = root.querySelector(".gw-filter");
    const count = filter.querySelector("output");
    const texts = rows.map((row) => `${row.dataset.name} ${[1, 4, 5].map((column) => row.cells[column].textContent).join(" ")}`.toLowerCase());
    const apply = () => {
      const words = filter.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, index) => { row.hidden = !words.every((word) => texts[index].includes(word)); });
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = `${shown} of ${rows.length}`;
    };
    filter.querySelector("input").addEventListener("input", apply);
    filter.hidden = false;
    apply();
  };
  document.querySelectorAll(".gradwatch-report:not([data-ready])").forEach((root) => {
    root.dataset.ready = "";
    setUp(root);
  });
})();
