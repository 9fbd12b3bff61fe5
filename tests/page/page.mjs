// SPDX-License-Identifier: MIT
//
// The live page as a whole: that nothing leaves it, that a phone can show it, that a large heap does not
// freeze it.
//
// What could break a user here: profiles that are sent elsewhere, a page that must be scrolled sideways or
// does not come back.

import { DESKTOP, flameIsDrawn, PHONE, runInBrowser, series, withPage } from "./harness.mjs";
import { writeProfile } from "./profile_writer.mjs";
import { check, equal, test } from "./runner.mjs";

for (const [name, size] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
  test(`nothing_is_wider_than_a_${name}`, () =>
    withPage(
      async (page) => {
        await page.until(flameIsDrawn);
        await page.until(`${series("heap")} === '64 MiB'`);
        const wide = `[...document.querySelectorAll("body *")]
          .filter((item) => item.getBoundingClientRect().right > innerWidth + 0.5 &&
          item.closest(".u-wrap, svg") === null).map((item) => item.outerHTML.slice(0, 80))`;
        equal(await page.value(wide), [], "elements beyond the edge");
        equal(await page.value("document.documentElement.scrollWidth"), size[0], "width of the page");
      },
      {
        size,
        profile: writeProfile([
          {
            stack: ["main", "operator new", "a".repeat(300)],
            values: [1, 2, 1, 2],
            labels: { handler: "/" + "x".repeat(127) },
          },
        ]),
      },
    ));
}

test("names_of_the_program_stay_texts", () => {
  const hostile = '"><img src=/evil.png onerror=alert(1)><script>alert(2)</script>';
  return withPage(
    async (page) => {
      await page.until(flameIsDrawn);
      await page.clickOn("#functions .name");
      const made = await page.value("[...document.querySelectorAll('img, body script')].length");
      equal(made, 1, "scripts and images, its own script among them");
      const shown = await page.value("document.querySelector('#functions .name').textContent");
      equal(shown, hostile, "the name");
    },
    {
      profile: writeProfile([
        { stack: ["main", hostile], values: [1, 2, 1, 2], labels: { [hostile]: hostile } },
      ]),
    },
  );
});

test("the_policy_lets_nothing_out", () =>
  withPage(
    async (page) => {
      await page.until(flameIsDrawn);
      const results = await page.value(`(async () => {
        const fetched = await fetch("http://127.0.0.1:9/").then(() => "let through", (error) => error.name);
        const evaluated = (() => { try { return eval("1"); } catch (error) { return error.name; } })();
        const script = document.createElement("script");
        script.textContent = "window.intruder = true";
        document.body.append(script);
        const image = await new Promise((resolve) => {
          const element = new Image();
          element.onload = () => resolve("loaded");
          element.onerror = () => resolve("refused");
          element.src = "http://127.0.0.1:9/pixel.png";
        });
        return [fetched, evaluated, window.intruder === true, image];
      })()`);
      equal(results, ["TypeError", "EvalError", false, "refused"], "what an intruder could do");
      const refusals = page.errors.filter((text) => text.includes("Content Security Policy"));
      check(refusals.length >= 3, `refused by the policy: ${refusals.length}`);
      page.requests = page.requests.filter((url) => !url.startsWith("http://127.0.0.1:9/"));
    },
    { expectErrors: true },
  ));

test("ten_thousand_stacks_render", () => {
  const rows = [];
  for (let i = 0; i < 10000; i++) {
    const stack = ["main"];
    for (let k = 1; k < 40; k++) stack.push(`function_${k}_${Math.floor(i / 2 ** Math.max(0, 13 - k)) % 50}`);
    rows.push({
      stack,
      values: [1 + (i % 7), 64 * (1 + (i % 7)), 1, 64],
      labels: { handler: `h${i % 30}` },
    });
  }
  return withPage(
    async (page) => {
      await page.until(flameIsDrawn);
      const time = await page.value(`(async () => {
        const start = performance.now();
        document.querySelector("input[value=alloc_space]").click();
        const switched = performance.now() - start;
        document.getElementById("refresh").click();
        const button = document.getElementById("refresh");
        while (button.disabled) await new Promise((resolve) => setTimeout(resolve, 1));
        const refreshed = performance.now() - start - switched;
        const before = performance.now();
        const search = document.getElementById("search");
        search.value = "function_39";
        search.dispatchEvent(new Event("input"));
        return { switched, refreshed, searched: performance.now() - before };
      })()`);
      for (const [what, milliseconds] of Object.entries(time))
        console.log(`# 10,000 stacks of 40 frames, ${what}: ${Math.round(milliseconds)} ms`);
      check(Math.max(...Object.values(time)) < 30000, "that is frozen");
      equal(
        await page.text("search-result"),
        "10,000 frames match: 100.0 % of the total (2.44 MiB)",
        "all are there",
      );
    },
    { profile: writeProfile(rows) },
  );
});

await runInBrowser();
