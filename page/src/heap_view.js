// SPDX-License-Identifier: MIT
//
// The heap: fetches the profile, holds what is chosen (value, labels, search, mark) and shows tree, words and
// table.
//
// The mark is the profile that was shown when it was set, kept in memory. From then on a difference can be
// shown: what is there now less what was there at the mark.

import { Flame } from "./flame.js";
import { FunctionTable } from "./function_table.js";
import { amount, clock, count, percent, withSign } from "./format.js";
import { reasonForNothing, wordsOfDifference, wordsOfProfile } from "./heap_words.js";
import { LabelFilter } from "./label_filter.js";
import { names, readProfile } from "./profile.js";
import { namesThatMatch } from "./search.js";
import { get } from "./server.js";
import { buildTree, functionsOf, matchedSize } from "./tree.js";

const REFRESH_MS = 10000;
const UNIT_OF_OLDER = "bytes";

const element = (id) => document.getElementById(id);

export class HeapView {
  constructor() {
    this.profile = null;
    this.mark = null;
    this.type = "inuse_space";
    this.search = "";
    this.root = null;
    this.isBusy = false;
    this.timer = 0;
    this.labels = new LabelFilter(element("labels"), () => this.rebuild());
    this.table = new FunctionTable(element("functions"), (name) => this.searchFor(name));
    this.flame = new Flame(element("flame"), {
      label: (node) => this.labelOf(node),
      onSelect: (node) => this.describe(node),
      onZoom: (node) => (element("zoom-out").disabled = node.parent === null),
    });
    this.listen();
  }

  listen() {
    for (const input of document.querySelectorAll("input[name=type]")) {
      input.addEventListener("change", () => this.setType(input.value));
    }
    element("search").addEventListener("input", (event) => this.setSearch(event.target.value));
    element("zoom-out").addEventListener("click", () => this.flame.zoom(this.root));
    element("refresh").addEventListener("click", () => this.refresh());
    element("repeat").addEventListener("change", () => this.schedule());
    element("set-mark").addEventListener("click", () => this.setMark());
    element("difference").addEventListener("change", () => this.rebuild());
    document.addEventListener("visibilitychange", () => this.schedule());
  }

  get isDifference() {
    return this.mark !== null && element("difference").checked;
  }

  get unit() {
    return this.profile?.types.find((known) => known.type === this.type)?.unit ?? UNIT_OF_OLDER;
  }

  async refresh() {
    if (this.isBusy) return;
    this.isBusy = true;
    element("refresh").disabled = true;
    try {
      const answer = await get("debug/pprof/heap");
      this.profile = await readProfile(new Uint8Array(await answer.arrayBuffer()));
      element("heap-error").hidden = true;
      this.rebuild();
    } catch (error) {
      element("heap-error").textContent = `The heap profile could not be read: ${error.message}.`;
      element("heap-error").hidden = false;
    }
    this.isBusy = false;
    element("refresh").disabled = false;
    this.schedule();
  }

  schedule() {
    clearTimeout(this.timer);
    if (element("repeat").checked && !document.hidden)
      this.timer = setTimeout(() => this.refresh(), REFRESH_MS);
  }

  setType(type) {
    this.type = type;
    this.rebuild();
  }

  setMark() {
    if (this.profile === null) return;
    this.mark = this.profile;
    element("difference").disabled = false;
    element("difference").checked = true;
    element("mark-time").textContent = `mark set at ${clock(this.mark.time)}`;
    this.rebuild();
  }

  setSearch(text) {
    this.search = text;
    this.showSearch();
  }

  searchFor(name) {
    element("search").value = name;
    this.setSearch(name);
  }

  /** After any change of what is shown. */
  rebuild() {
    if (this.profile === null) return;
    this.labels.update(this.profile, this.type, this.unit);
    const earlier = this.isDifference ? this.mark : null;
    this.root = buildTree(this.profile, earlier, this.type, this.labels.predicate());
    this.flame.show(this.root, this.isDifference);
    this.table.show(functionsOf(this.root), this.unit, this.isDifference);
    this.showSearch();
    this.showWords();
  }

  showSearch() {
    if (this.root === null) return;
    const matches = this.search === "" ? null : namesThatMatch(this.search);
    this.flame.search(matches);
    const result = element("search-result");
    if (matches === null) {
      result.textContent = "";
      return;
    }
    const found = matchedSize(this.root, matches);
    const what = this.isDifference ? "of the change" : "of the total";
    const share = `${percent(found.size, this.root.size)} ${what} (${amount(found.size, this.unit)})`;
    result.textContent = found.frames === 0 ? "no match" : `${howMany(found.frames)}: ${share}`;
  }

  showWords() {
    const { profile, root } = this;
    const shown = { type: this.type, unit: this.unit, net: root.net, isFiltered: this.labels.isActive };
    const words = this.isDifference
      ? wordsOfDifference(profile, this.mark, shown)
      : wordsOfProfile(profile, shown);
    element("heap-words").textContent = words;
    element("legend").hidden = !this.isDifference;
    element("heap-empty").hidden = root.size !== 0;
    element("flame-area").hidden = root.size === 0;
    element("heap-empty").textContent = reasonForNothing(profile, this.isDifference);
  }

  labelOf(node) {
    if (node.frame < 0) return `${this.isDifference ? "change" : "all"}: ${this.valueOf(node)}`;
    const name = names.list[node.frame].name;
    return this.isDifference ? `${arrow(node.net)} ${this.valueOf(node)} ${name}` : name;
  }

  valueOf(node) {
    const text = amount(node.net, this.unit);
    return this.isDifference ? withSign(text, node.net) : text;
  }

  describe(node) {
    const box = element("detail");
    if (node.frame < 0) {
      box.textContent = this.labelOf(node);
      return;
    }
    const { name, file } = names.list[node.frame];
    const share = percent(node.size, this.root.size);
    const self = node.self === 0 ? "" : `, ${amount(node.self, this.unit)} of it allocated here`;
    box.textContent = `${name}: ${this.valueOf(node)}, ${share}${self}${file === "" ? "" : ` (${file})`}`;
  }
}

function howMany(frames) {
  return frames === 1 ? "1 frame matches" : `${count(frames)} frames match`;
}

function arrow(value) {
  return value > 0 ? "▲" : value < 0 ? "▼" : "=";
}
