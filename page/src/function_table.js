// SPDX-License-Identifier: MIT
//
// The functions with the largest values, as a table: what the flame graph shows, for reading line by line.

import { amount, withSign } from "./format.js";
import { names } from "./profile.js";

const MOST_ROWS = 20;

export class FunctionTable {
  /** onChoose(name): the button of a function was pressed. */
  constructor(parent, onChoose) {
    this.body = parent.querySelector("tbody");
    this.headings = [...parent.querySelectorAll("th[data-sort]")];
    this.onChoose = onChoose;
    this.sort = "self";
    this.functions = [];
    for (const heading of this.headings) {
      heading.querySelector("button").addEventListener("click", () => this.sortBy(heading.dataset.sort));
    }
  }

  /** In a difference, growth comes first and shrinkage last. */
  show(functions, unit, isDifference) {
    this.functions = functions;
    this.text = (value) => (isDifference ? withSign(amount(value, unit), value) : amount(value, unit));
    this.render();
  }

  sortBy(column) {
    this.sort = column;
    this.render();
  }

  render() {
    const column = this.sort;
    const rows = this.functions
      .filter((entry) => entry[column] !== 0)
      .sort((a, b) => Math.abs(b[column]) - Math.abs(a[column]))
      .slice(0, MOST_ROWS)
      .sort((a, b) => b[column] - a[column]);
    for (const heading of this.headings) {
      heading.setAttribute("aria-sort", heading.dataset.sort === column ? "descending" : "none");
    }
    this.body.replaceChildren(...rows.map((entry) => this.row(entry)));
  }

  row(entry) {
    const row = document.createElement("tr");
    for (const value of [entry.self, entry.total]) row.insertCell().textContent = this.text(value);
    const button = row.insertCell().appendChild(document.createElement("button"));
    button.type = "button";
    button.className = "name";
    button.textContent = names.list[entry.frame].name;
    button.addEventListener("click", () => this.onChoose(button.textContent));
    return row;
  }
}
