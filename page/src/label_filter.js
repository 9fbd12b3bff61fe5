// SPDX-License-Identifier: MIT
//
// One choice per label key of the profile: all, a value, or the rows without the key. Rows must meet all
// choices.

import { amount } from "./format.js";

const ALL = "";
const WITHOUT = "without";
const VALUE = "="; // before a value, so that none is taken for the two above
const MOST_VALUES = 200;

export class LabelFilter {
  constructor(parent, onChange) {
    this.parent = parent;
    this.onChange = onChange;
    this.selects = new Map(); // by key
  }

  /** Fits the choices to a profile; what was chosen stays chosen. */
  update(profile, type, unit) {
    const index = profile.types.findIndex((known) => known.type === type);
    for (const key of profile.labelKeys) {
      if (!this.selects.has(key)) this.addSelect(key);
    }
    for (const [key, select] of this.selects) fill(select, key, valuesOf(profile, key, index), unit);
    this.parent.hidden = this.selects.size === 0;
  }

  addSelect(key) {
    const label = this.parent.appendChild(document.createElement("label"));
    label.append(`${key} `);
    const select = label.appendChild(document.createElement("select"));
    select.addEventListener("change", () => this.onChange());
    this.selects.set(key, select);
  }

  get isActive() {
    return [...this.selects.values()].some((select) => select.value !== ALL);
  }

  predicate() {
    const chosen = [...this.selects]
      .map(([key, select]) => [key, select.value])
      .filter(([, value]) => value !== ALL);
    return (sample) =>
      chosen.every(([key, value]) => {
        const label = sample.labels.find(([known]) => known === key);
        return value === WITHOUT ? label === undefined : label !== undefined && VALUE + label[1] === value;
      });
  }
}

/** [value, sum] by size; null stands for rows without the key. */
function valuesOf(profile, key, index) {
  const sums = new Map();
  for (const sample of profile.samples) {
    const label = sample.labels.find(([known]) => known === key);
    const value = label === undefined ? null : label[1];
    sums.set(value, (sums.get(value) ?? 0) + sample.values[index]);
  }
  return [...sums].sort((a, b) => b[1] - a[1]).slice(0, MOST_VALUES);
}

function fill(select, key, values, unit) {
  const chosen = select.value;
  const options = [new Option("all", ALL)];
  for (const [value, sum] of values) {
    const text = value === null ? `(without ${key})` : value;
    options.push(new Option(`${text}: ${amount(sum, unit)}`, value === null ? WITHOUT : VALUE + value));
  }
  if (!options.some((option) => option.value === chosen)) {
    options.push(new Option(chosen === WITHOUT ? `(without ${key})` : chosen.slice(VALUE.length), chosen));
  }
  select.replaceChildren(...options);
  select.value = chosen;
}
