// SPDX-License-Identifier: MIT
//
// The upper half of the live page: statistics as charts and words.
//
// What could break a user here: a chart that stands still or shows another number than halloc's, and a
// program that has died unnoticed.

import { flameIsDrawn, MIB, runInBrowser, series, withPage } from "./harness.mjs";
import { check, equal, test } from "./runner.mjs";
import { someStats } from "./stand_in.mjs";

const LINE = [0, 114, 178]; // of the first line of a chart, in light
const LIMIT = [27, 27, 27];

/** Where a colour is drawn in a chart, its axes apart: [number of pixels, first row, last row]. */
const drawn = (chart, colour) => `(() => {
  const canvas = document.querySelectorAll(".chart canvas")[${chart}];
  const [left, bottom] = [70, 30];
  const [width, height] = [canvas.width - left, canvas.height - bottom];
  const pixels = canvas.getContext("2d").getImageData(left, 0, width, height).data;
  const rows = [];
  for (let i = 0; i < pixels.length; i += 4) {
    const isIt = ${JSON.stringify(colour)}.every((value, k) => Math.abs(pixels[i + k] - value) < 8);
    if (isIt && pixels[i + 3] > 200) rows.push(Math.floor(i / 4 / width));
  }
  return [rows.length, rows[0] ?? 0, rows.at(-1) ?? 0];
})()`;

test("charts_move_with_the_statistics", () =>
  withPage(async (page, server) => {
    await page.until(`${series("heap")} === '64 MiB'`);
    equal(await page.value(series("rss")), "101 MiB", "RSS");
    equal(await page.value(series("threads")), "4", "threads");
    await page.until(`${series("rate")} === '0 B/s'`, "a second reading");
    const [pixels, first, last] = await page.value(drawn(0, LINE));
    check(pixels > 30 && last - first < 5, `one value: ${pixels} pixels in rows ${first} to ${last}`);
    server.stats = someStats({
      HeapAlloc: 96 * MIB,
      HeapInuse: 99 * MIB,
      HeapReleased: 10 * MIB,
      HeapIdle: 29 * MIB,
      Threads: 9,
    });
    await page.until(`${series("heap")} === '96 MiB'`);
    equal(await page.value(series("inuse")), "99 MiB", "HeapInuse");
    equal(await page.value(series("idle")), "29 MiB", "HeapIdle");
    equal(await page.value(series("released")), "10 MiB", "HeapReleased");
    equal(await page.value(series("threads")), "9", "threads");
    await page.until(
      `(([, first, last]) => last - first > 25)(${drawn(0, LINE)})`,
      "the line of HeapAlloc rises",
    );
    check(
      (await page.text("words")).includes("holds 96 MiB in 2,000 blocks"),
      `in words: ${await page.text("words")}`,
    );
  }));

test("the_allocation_rate_is_bytes_over_seconds", () =>
  withPage(async (page, server) => {
    await page.until(`${series("rate")} === '0 B/s'`);
    // 10 MiB more with each answer, of which there is one a second.
    const send = server.answer.bind(server);
    let total = 100 * MIB;
    server.answer = (request, response) => {
      if (request.url === "/memstats") server.stats = someStats({ TotalAlloc: (total += 10 * MIB) });
      send(request, response);
    };
    await page.until(
      `Math.abs(parseFloat(${series("rate")}) - 10) < 2 && ${series("rate")}.endsWith('MiB/s')`,
    );
  }));

test("the_memory_limit_is_a_line", () =>
  withPage(async (page, server) => {
    await page.until(`${series("heap")} === '64 MiB'`);
    equal(await page.value(series("limit")), "none", "the limit");
    check((await page.text("words")).includes("no memory limit"), "no limit in words");
    equal((await page.value(drawn(2, LIMIT)))[0], 0, "pixels of a limit that there is not");
    server.stats = someStats({
      MemoryLimit: 200 * MIB,
      MemoryLimitExceeded: 3,
    });
    await page.until(`${series("limit")} === '200 MiB'`);
    await page.until(`${drawn(2, LIMIT)}[0] > 30`, "the limit is drawn");
    server.stats = someStats({ MemoryLimit: 900 * MIB, MemoryLimitExceeded: 3 });
    await page.until(`${series("limit")} === '900 MiB (above)'`);
    server.stats = someStats({ MemoryLimit: 200 * MIB, MemoryLimitExceeded: 3 });
    await page.until(`${series("limit")} === '200 MiB'`);
    const words = await page.text("words");
    check(words.includes("100 MiB count towards the memory limit of 200 MiB: 50.0 %"), words);
    check(words.includes("could not be kept 3 times"), words);
  }));

test("a_server_that_fails_is_told_and_comes_back", () =>
  withPage(
    async (page, server) => {
      await page.until(`${series("heap")} === '64 MiB'`);
      server.failure = 503;
      await page.until("!document.getElementById('error').hidden");
      check((await page.text("error")).includes("503 planted failure"), await page.text("error"));
      equal(await page.value(series("heap")), "–", "HeapAlloc while nothing is known");
      equal(await page.value(series("limit")), "–", "the limit while nothing is known");
      await page.clickOn("#refresh");
      await page.until("!document.getElementById('heap-error').hidden");
      server.failure = 0;
      await page.until("document.getElementById('error').hidden");
      await page.clickOn("#refresh");
      await page.until("document.getElementById('heap-error').hidden");
    },
    { expectErrors: true },
  ));

test("a_token_is_asked_for_and_sent", () =>
  withPage(
    async (page) => {
      await page.until("!document.getElementById('token').hidden");
      await page.clickOn("#token-text");
      await page.type("s3cret");
      await page.press("Enter");
      await page.until("document.getElementById('token').hidden");
      await page.until(`${series("heap")} === '64 MiB'`);
      await page.until(flameIsDrawn);
    },
    { prepare: (server) => (server.token = "s3cret"), expectErrors: true },
  ));

test("a_hidden_page_does_not_ask", () =>
  withPage(async (page, server) => {
    await page.until(`${series("heap")} === '64 MiB'`);
    await page.value(`(() => {
      Object.defineProperty(document, "hidden", { value: true, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    })()`);
    let asked = server.paths.length;
    await page.value("new Promise((resolve) => setTimeout(resolve, 3500))"); // three more would be due
    // One may have been under way.
    check(server.paths.length - asked <= 1, `${server.paths.length - asked} requests`);
    asked = server.paths.length;
    await page.value("delete document.hidden, document.dispatchEvent(new Event('visibilitychange'))");
    const deadline = Date.now() + 20000;
    while (server.paths.length === asked && Date.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 20));
    check(server.paths.length > asked, "it does not ask again when it is seen");
  }));

await runInBrowser();
