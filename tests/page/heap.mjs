// SPDX-License-Identifier: MIT
//
// The lower half of the live page: flame graph, search, labels, difference.
//
// What could break a user here: a graph that blames the wrong function, a leak that the difference hides, an
// answer that is no profile taken for an empty heap.

import {
  choose,
  clickAt,
  detailAt,
  flameIsDrawn,
  isRefreshed,
  leakProfiles,
  MIB,
  ROWS,
  runInBrowser,
  searchFor,
  tableRow,
  withPage,
} from "./harness.mjs";
import { writeProfile } from "./profile_writer.mjs";
import { check, equal, test } from "./runner.mjs";

test("flame_graph_tells_frames_and_zooms", () =>
  withPage(async (page) => {
    await page.until(flameIsDrawn);
    equal(await page.text("detail"), "all: 100 MiB", "the root");
    equal(await detailAt(page, 1, 0.5), "main: 100 MiB, 100.0 % (program)", "row 1");
    equal(
      await detailAt(page, 2, 0.3),
      "parse: 60 MiB, 60.0 %, 40 MiB of it allocated here (program)",
      "row 2",
    );
    equal(
      await detailAt(page, 2, 0.8),
      "cache::insert: 40 MiB, 40.0 %, 40 MiB of it allocated here (program)",
      "row 2, right",
    );
    equal(
      await detailAt(page, 3, 0.1),
      "read_line: 20 MiB, 20.0 %, 20 MiB of it allocated here (program)",
      "row 3",
    );
    await clickAt(page, 2, 0.3);
    check(!(await page.value("document.getElementById('zoom-out').disabled")), "nothing to zoom out of");
    check(
      (await detailAt(page, 2, 0.9)).startsWith("parse: 60 MiB"),
      "the zoomed frame has not the whole width",
    );
    check((await detailAt(page, 3, 0.2)).startsWith("read_line"), "what is below the zoomed frame");
    await clickAt(page, 0, 0.5);
    check(
      (await detailAt(page, 2, 0.9)).startsWith("cache::insert"),
      "a click on the root does not zoom out",
    );
    await clickAt(page, 2, 0.3);
    await page.clickOn("#zoom-out");
    check((await detailAt(page, 2, 0.9)).startsWith("cache::insert"), "the button does not zoom out");
  }));

test("flame_graph_is_reachable_by_keys", () =>
  withPage(async (page) => {
    await page.until(flameIsDrawn);
    for (let i = 0; i < 40 && (await page.value("document.activeElement.id")) !== "flame"; i++)
      await page.press("Tab");
    equal(await page.value("document.activeElement.id"), "flame", "the focus after tabs");
    const seen = [];
    for (const key of [
      "ArrowDown",
      "ArrowDown",
      "ArrowRight",
      "ArrowLeft",
      "Enter",
      "ArrowDown",
      "ArrowUp",
      "Escape",
    ]) {
      await page.press(key);
      seen.push((await page.text("detail")).split(":")[0]);
    }
    equal(seen, ["main", "parse", "cache", "parse", "parse", "read_line", "parse", "all"], "frames by keys");
  }));

test("values_can_be_switched", () =>
  withPage(async (page) => {
    await page.until(flameIsDrawn);
    const seen = [];
    for (const type of ["inuse_objects", "alloc_space", "alloc_objects", "inuse_space"]) {
      await page.clickOn(`input[value=${type}]`);
      seen.push((await page.text("detail")).replace("all: ", ""));
    }
    equal(seen, ["100", "170 MiB", "930", "100 MiB"], "totals");
    await page.clickOn("input[value=inuse_objects]");
    check(
      (await detailAt(page, 2, 0.5)).startsWith("cache::insert: 90, 90.0 %"),
      "widths are not those of blocks",
    );
  }));

test("search_marks_frames_and_tells_their_share", () =>
  withPage(async (page) => {
    await page.until(flameIsDrawn);
    const plain = await page.value("document.getElementById('flame').toDataURL()");
    await page.clickOn("#search");
    await page.type("PARSE");
    equal(await page.text("search-result"), "1 frame matches: 60.0 % of the total (60 MiB)", "result");
    check((await page.value("document.getElementById('flame').toDataURL()")) !== plain, "nothing is marked");
    await searchFor(page, "/^(read_line|cache::.*)$/");
    equal(
      await page.text("search-result"),
      "2 frames match: 60.0 % of the total (60 MiB)",
      "a regular expression",
    );
    await searchFor(page, "/main|parse/");
    equal(
      await page.text("search-result"),
      "2 frames match: 100.0 % of the total (100 MiB)",
      "nested matches count once",
    );
    await searchFor(page, "nowhere(");
    equal(await page.text("search-result"), "no match", "no match");
    await searchFor(page, "");
    equal(await page.text("search-result"), "", "no search");
  }));

test("labels_select_rows", () =>
  withPage(async (page) => {
    await page.until(flameIsDrawn);
    const options = await page.value(
      `[...document.querySelectorAll("#labels select")]
        .map((select) => [...select.options].map((option) => option.text))`,
    );
    equal(
      options,
      [
        ["all", "login: 60 MiB", "checkout: 40 MiB"],
        ["all", "(without tenant): 80 MiB", "a: 20 MiB"],
      ],
      "choices",
    );
    await choose(page, "#labels select", "=checkout");
    equal(await page.text("detail"), "all: 40 MiB", "handler=checkout");
    await choose(page, "#labels select", "=login");
    equal(await page.text("detail"), "all: 60 MiB", "handler=login");
    await choose(page, "#labels label:nth-child(2) select", "without");
    equal(await page.text("detail"), "all: 40 MiB", "handler=login without tenant");
    await page.clickOn("#refresh");
    await page.until(isRefreshed);
    equal(await page.text("detail"), "all: 40 MiB", "after a refresh");
  }));

test("without_labels_there_is_no_filter", () =>
  withPage(
    async (page) => {
      await page.until(flameIsDrawn);
      check(await page.value("document.getElementById('labels').hidden"), "a filter of nothing is shown");
    },
    { profile: writeProfile([{ stack: ["main"], values: [1, 2, 1, 2] }]) },
  ));

test("drop_frames_are_left_out", () =>
  withPage(
    async (page) => {
      await page.until(flameIsDrawn);
      const table = await page.value(
        "[...document.querySelectorAll('#functions .name')].map((button) => button.textContent)",
      );
      equal(table, ["grow", "operator new"], "functions with a value of their own");
    },
    {
      profile: writeProfile(
        [
          {
            stack: ["main", "grow", "_ZN9__gnu_cxx13new_allocatorIiE8allocateEmPKv", "_Znwm"],
            values: [1, 30, 1, 30],
          },
          { stack: ["_Znwm"], values: [1, 10, 1, 10] }, // nothing outside it: kept
        ],
        {
          drop: "malloc|operator new(\\[\\])?|__gnu_cxx::new_allocator::allocate",
        },
      ),
    },
  ));

test("the_difference_tells_growth_from_shrinkage", () =>
  withPage(async (page, server) => {
    await page.until(flameIsDrawn);
    await page.clickOn("#set-mark");
    equal(await page.text("heap-empty"), "Nothing has changed since the mark.", "at once");
    const change = [0, 30 * MIB, -10 * MIB];
    server.profile = writeProfile(
      ROWS.map((row, i) => ({
        ...row,
        values: row.values.map((value, k) => (k === 3 ? value + change[i] : value)),
      })),
    );
    await page.clickOn("#refresh");
    await page.until("document.getElementById('heap-empty').hidden && " + isRefreshed);
    equal(await page.text("detail"), "change: +20 MiB", "the whole");
    check(
      (await detailAt(page, 2, 0.5)).startsWith("parse: +20 MiB, 100.0 %, −10 MiB of it"),
      await page.text("detail"),
    );
    check((await detailAt(page, 3, 0.5)).startsWith("read_line: +30 MiB, 75.0 %"), await page.text("detail"));
    const rows = await page.value(
      `[...document.querySelectorAll("#functions tbody tr")]
        .map((row) => row.innerText.replace(/\\s+/g, " "))`,
    );
    equal(rows, ["+30 MiB +30 MiB read_line", "−10 MiB +20 MiB parse"], "the table");
    check(await page.value("!document.getElementById('legend').hidden"), "no legend for the signs");
    await page.clickOn("#difference");
    equal(await page.text("detail"), "all: 120 MiB", "without the difference");
  }));

test("the_difference_of_a_real_program_shows_its_leak", () => {
  const [before, after] = leakProfiles();
  return withPage(
    async (page, server) => {
      await page.until(flameIsDrawn);
      await page.clickOn("#set-mark");
      server.profile = after;
      await page.clickOn("#refresh");
      await page.until("document.getElementById('heap-empty').hidden && " + isRefreshed);
      // 4000 blocks of 5 KiB are new, 2500 of 2 KiB were freed; at rate 1, so exactly.
      const [growth, , grown] = await tableRow(page, "first-child");
      equal([growth, grown], ["+19.5 MiB", "leak_session"], "what grew most");
      const [loss, , shrunk] = await tableRow(page, "last-child");
      equal([loss, shrunk], ["−4.88 MiB", "fill_cache"], "what shrank");
      const values = await page.value(
        "[...document.querySelectorAll('#labels option')].map((option) => option.text)",
      );
      check(values.includes("login: 19.5 MiB"), `the program's label is not among ${values}`);
    },
    { profile: before },
  );
});

test("a_mark_of_another_process_is_said", () => {
  const of = (pid) => writeProfile(ROWS, { comments: [`halloc: version=0.1.0 pid=${pid} rate=524288`] });
  return withPage(
    async (page, server) => {
      await page.until(flameIsDrawn);
      await page.clickOn("#set-mark");
      check(!(await page.text("heap-words")).includes("another process"), "said of the same process");
      server.profile = of(8);
      await page.clickOn("#refresh");
      await page.until("document.getElementById('heap-words').textContent.includes('another process')");
    },
    { profile: of(7) },
  );
});

test("profiling_off_is_said", () =>
  withPage(
    async (page) => {
      await page.until("document.getElementById('heap-empty').textContent !== ''");
      check((await page.text("heap-empty")).startsWith("Profiling is off"), await page.text("heap-empty"));
      check(!(await page.value("document.getElementById('heap-empty').hidden")), "it is hidden");
    },
    { profile: writeProfile([], { rate: 0 }) },
  ));

test("lost_samples_are_said", () =>
  withPage(
    async (page) => {
      await page.until(flameIsDrawn);
      check(
        (await page.text("heap-words")).includes("7 samples were dropped"),
        await page.text("heap-words"),
      );
    },
    {
      profile: writeProfile(ROWS, {
        comments: ["halloc: lost dropped=7 overflow=0 truncated=0"],
      }),
    },
  ));

test("the_error_and_the_exact_total_are_said", () => {
  const comments = [
    "halloc: exact HeapAlloc=99000000 TotalAlloc=5 HeapObjects=101 Mallocs=5 Frees=3",
    "halloc: sampled inuse_space=104857600 inuse_space_se=3145728 inuse_objects=100 inuse_objects_se=12",
  ];
  return withPage(
    async (page) => {
      await page.until(flameIsDrawn);
      const told = async (words) => {
        check((await page.text("heap-words")).startsWith(words), await page.text("heap-words"));
      };
      await told("inuse_space: 100 MiB ± 3 MiB (1 standard error; exactly 94.4 MiB). Profile of");
      await page.clickOn("input[value=inuse_objects]");
      await told("inuse_objects: 100 ± 12 (1 standard error; exactly 101). Profile of");
      await choose(page, "#labels select", "=checkout"); // a part has another error
      await told("inuse_objects: 90. Profile of");
    },
    { profile: writeProfile(ROWS, { comments }) },
  );
});

test("what_is_no_profile_is_said", () =>
  withPage(
    async (page, server) => {
      for (const body of ["", "hello, no profile", writeProfile(ROWS).subarray(0, 200), "\x1f\x8bnonsense"]) {
        server.profile = Buffer.from(body, "latin1");
        await page.until(isRefreshed);
        await page.clickOn("#refresh");
        await page.until(isRefreshed + " && !document.getElementById('heap-error').hidden");
        check(
          (await page.text("heap-error")).startsWith("The heap profile could not be read: "),
          await page.text("heap-error"),
        );
      }
    },
    { profile: Buffer.from("none") },
  ));

await runInBrowser();
