// SPDX-License-Identifier: MIT
//
// Which functions a search finds: "text" is looked for anywhere in the name, in any case; "/text/" is a
// regular expression, or a text if it is none.

import { names } from "./profile.js";

/** By frame number. */
export function namesThatMatch(search) {
  const test = matcherOf(search);
  return names.list.map(({ name }) => test(name));
}

function matcherOf(search) {
  if (search.length > 2 && search.startsWith("/") && search.endsWith("/")) {
    try {
      const expression = new RegExp(search.slice(1, -1), "i");
      return (name) => expression.test(name);
    } catch {
      // as a text then
    }
  }
  const wanted = search.toLowerCase();
  return (name) => name.toLowerCase().includes(wanted);
}
