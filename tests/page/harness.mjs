// SPDX-License-Identifier: MIT
//
// What the tests of the live page share: a page in the browser before a server of its own, and ways to look
// at it.
//
// usage of a file of tests: node FILE.mjs PAGE.html LEAK_PROGRAM [TEST...]

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browser } from "./browser.mjs";
import { writeProfile } from "./profile_writer.mjs";
import { check, equal, run } from "./runner.mjs";
import { StandIn } from "./stand_in.mjs";

export const [pageFile, leakProgram, ...chosen] = process.argv.slice(2);
export const MIB = 2 ** 20;
export const DESKTOP = [1200, 900];
export const PHONE = [360, 740];
const ROW = 20; // height of a frame

// 60 % parse (of that a third in read_line), 40 % cache::insert. Blocks: nine of ten the latter.
export const ROWS = [
  {
    stack: ["main", "_ZN5cache6insertERKSs"],
    values: [900, 50 * MIB, 90, 40 * MIB],
    labels: { handler: "checkout" },
  },
  {
    stack: ["main", "parse", "read_line"],
    values: [10, 40 * MIB, 5, 20 * MIB],
    labels: { handler: "login", tenant: "a" },
  },
  { stack: ["main", "parse"], values: [20, 80 * MIB, 5, 40 * MIB], labels: { handler: "login" } },
];

let browser;

/** Runs the tests of a file with one browser. */
export async function runInBrowser() {
  browser = await Browser.start();
  await run(chosen);
  await browser.stop();
}

/** A page before a server of its own; both are gone when the body ends. Errors of the page fail the test. */
export async function withPage(
  body,
  { size = DESKTOP, profile = writeProfile(ROWS), prepare = () => {}, expectErrors = false } = {},
) {
  const server = await StandIn.start(pageFile);
  server.profile = profile;
  prepare(server);
  await withPageOf(server, body, { size, expectErrors });
}

/** The same before a server with url and stop(). */
export async function withPageOf(server, body, { size = DESKTOP, expectErrors = false } = {}) {
  const page = await browser.newPage(...size);
  try {
    await page.open(server.url);
    await page.until("document.getElementById('words') !== null");
    await body(page, server);
    if (!expectErrors) equal(page.errors, [], "what the page logged");
    for (const url of page.requests)
      check(url.startsWith(server.url) || url === "data:,", `a request left the origin: ${url}`);
  } finally {
    await page.close();
    await server.stop();
  }
}

/** The profiles that tests/page/leak.c writes, before and after its leak. */
export function leakProfiles() {
  const folder = mkdtempSync(join(tmpdir(), "halloc-page."));
  const files = [join(folder, "before"), join(folder, "after")];
  execFileSync(leakProgram, files);
  const profiles = files.map((file) => readFileSync(file));
  rmSync(folder, { recursive: true });
  return profiles;
}

export const flameIsDrawn =
  "document.getElementById('flame').style.height !== '' && " +
  "document.getElementById('detail').textContent !== ''";
export const isRefreshed = "!document.getElementById('refresh').disabled";

/** The number in the legend of a chart. */
export const series = (key) => `document.querySelector('[data-series=${key}]').textContent`;

/** Where a frame of the flame graph is, by its row and the share of the width left of it. */
async function pointOf(page, row, share) {
  const box = await page.value(`(() => {
    const canvas = document.getElementById("flame");
    canvas.scrollIntoView({ block: "start" });
    const box = canvas.getBoundingClientRect();
    return [box.left, box.top, box.width];
  })()`);
  return [box[0] + share * box[2], box[1] + (row + 0.5) * ROW];
}

/** Puts the pointer there; again if the page has moved meanwhile, as it may with each reading. */
async function pointAt(page, row, share) {
  for (;;) {
    const point = await pointOf(page, row, share);
    await page.mouse("mouseMoved", ...point);
    const now = await pointOf(page, row, share);
    if (point.every((value, i) => value === now[i])) return point;
  }
}

/** What the page says about the frame there. */
export async function detailAt(page, row, share) {
  await pointAt(page, row, share);
  return page.text("detail");
}

export async function clickAt(page, row, share) {
  await page.click(...(await pointAt(page, row, share)));
}

/** The texts of a row of the table of functions. */
export function tableRow(page, which) {
  return page.value(
    `[...document.querySelector("#functions tbody tr:${which}").cells].map((cell) => cell.textContent)`,
  );
}

export async function choose(page, selector, value) {
  await page.value(`(() => {
    const select = document.querySelector(${JSON.stringify(selector)});
    select.value = ${JSON.stringify(value)};
    select.dispatchEvent(new Event("change", { bubbles: true }));
  })()`);
}

export async function searchFor(page, text) {
  await page.value(`(() => {
    const input = document.getElementById("search");
    input.value = ${JSON.stringify(text)};
    input.dispatchEvent(new Event("input"));
  })()`);
}
