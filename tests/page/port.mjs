// SPDX-License-Identifier: MIT
//
// The live page before halloc itself: a program with a leak, its admin port, and a browser.
//
// What could break a user here: a page that the port does not serve, or serves with a policy that stops it.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { get } from "node:http";
import { createInterface } from "node:readline";
import { gunzipSync } from "node:zlib";
import * as harness from "./harness.mjs";
import { check, equal, test } from "./runner.mjs";

const { flameIsDrawn, isRefreshed, leakProgram, pageFile, series, tableRow, withPageOf } = harness;

/** The program of leak.c while it serves. */
class Program {
  static async start(environment = {}) {
    const program = new Program(environment);
    program.url = `http://${await program.line()}/`;
    return program;
  }

  constructor(environment) {
    const env = { ...process.env, ...environment };
    this.process = spawn(leakProgram, [], { stdio: ["pipe", "pipe", "ignore"], env });
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  async line() {
    const { value, done } = await this.lines.next();
    check(!done, "the program ended");
    return value;
  }

  async leak() {
    this.process.stdin.write("\n");
    equal(await this.line(), "leaked", "the program's answer");
  }

  async stop() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.stdin.end();
    await ended;
  }
}

/** Status, fields and body of a plain GET. */
function request(url) {
  return new Promise((resolve, reject) => {
    const receive = (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => {
        resolve({ status: response.statusCode, fields: response.headers, body: Buffer.concat(parts) });
      });
    };
    get(url, { agent: false }, receive).on("error", reject);
  });
}

test("the_port_serves_the_page_as_built", async () => {
  const program = await Program.start();
  const { status, fields, body } = await request(program.url);
  await program.stop();
  const built = readFileSync(pageFile);
  const head = [status, fields["content-type"], fields["content-encoding"]];
  equal(head, [200, "text/html; charset=utf-8", "gzip"], "head");
  check(gunzipSync(body).equals(built), "the page is another one");
  const own = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(built)[1];
  equal(fields["content-security-policy"], `${own}; frame-ancestors 'none'`, "policy");
});

test("the_page_finds_the_leak_of_a_running_program", async () =>
  withPageOf(await Program.start(), async (page, program) => {
    await page.until(flameIsDrawn);
    // 5000 blocks of 2 KiB, and little else.
    await page.until(`Math.abs(parseFloat(${series("heap")}) - 9.8) < 0.1`);
    equal((await tableRow(page, "first-child"))[2], "fill_cache", "the largest function");
    await page.clickOn("#set-mark");
    await program.leak();
    await page.until(`Math.abs(parseFloat(${series("heap")}) - 24.5) < 0.2`);
    await page.clickOn("#refresh");
    await page.until("document.getElementById('heap-empty').hidden && " + isRefreshed);
    const [growth, , grown] = await tableRow(page, "first-child");
    equal([growth, grown], ["+19.5 MiB", "leak_session"], "what grew most");
    check((await page.text("heap-words")).includes("Every allocation is recorded."), "the rate");
  }));

test("the_page_asks_for_the_token_of_the_port", async () => {
  const program = await Program.start({ HALLOC_HTTP_TOKEN: "s3cret" });
  const { status, body } = await request(program.url + "memstats");
  equal(status, 401, "status without the token");
  check(!body.includes("HeapAlloc"), "statistics without the token");
  equal((await request(program.url)).status, 401, "status of the page without the token");
  const useToken = async (page) => {
    await page.until("!document.getElementById('token').hidden");
    await page.clickOn("#token-text");
    await page.type("s3cret");
    await page.press("Enter");
    await page.until("document.getElementById('token').hidden");
    await page.until(flameIsDrawn);
    equal((await tableRow(page, "first-child"))[2], "fill_cache", "the largest function");
  };
  await withPageOf(program, useToken, { expectErrors: true });
});

await harness.runInBrowser();
