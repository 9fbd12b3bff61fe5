// SPDX-License-Identifier: MIT
//
// Runs tests one after another: `ok NAME` or `FAIL NAME: reason`; the exit status says whether all passed.
// Names on the command line, behind those arguments that the file itself takes, choose some.

const tests = [];

export function test(name, body) {
  tests.push({ name, body });
}

export function check(condition, reason) {
  if (!condition) throw new Error(reason);
}

export function equal(actual, expected, what = "value") {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  check(a === b, `${what} is ${a}, expected ${b}`);
}

export async function run(chosen = []) {
  let failed = false;
  for (const { name, body } of tests) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    try {
      await body();
      console.log(`ok ${name}`);
    } catch (error) {
      failed = true;
      console.log(`FAIL ${name}: ${error.stack}`);
    }
  }
  process.exitCode = failed ? 1 : 0;
}
