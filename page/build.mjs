// SPDX-License-Identifier: MIT
//
// Makes the live page: one HTML file that needs nothing else. usage: node build.mjs OUTPUT
//
// Script and style are named by their hashes in the page's Content-Security-Policy, so the browser runs
// nothing else, and the page can ask no one but the port that it came from. Run by scripts/page, after npm
// has installed the parts.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const folder = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const read = (...path) => readFileSync(join(...path), "utf8").trim();

function bundle(entry) {
  const result = buildSync({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2023",
    charset: "utf8",
    legalComments: "none", // they are in the footer
  });
  return result.outputFiles[0].text.trim();
}

/** For the page's policy. Nothing may end the element early. */
function hashOf(text) {
  if (/<\/(script|style)/i.test(text)) throw new Error("the bundle contains an end tag");
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

function licences(parts) {
  const own = `halloc\n\n${read(folder, "..", "LICENSE")}`;
  const others = parts.map(({ name, version, path }) => `${name} ${version}\n\n${read(path, "LICENSE")}`);
  return [own, ...others].join("\n\n\n").replace(/&/g, "&amp;").replace(/</g, "&lt;");
}

function dependencies() {
  const own = JSON.parse(read(folder, "package.json"));
  return Object.entries(own.dependencies).map(([name, version]) => {
    const path = dirname(require.resolve(`${name}/package.json`));
    return { name, version, path };
  });
}

const script = bundle(join(folder, "src/main.js"));
const style = bundle(join(folder, "src/page.css"));
const policy = [
  "default-src 'none'",
  `script-src ${hashOf(script)}`,
  `style-src ${hashOf(style)}`,
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
const values = { POLICY: policy, STYLE: style, SCRIPT: script, LICENCES: licences(dependencies()) };
const page = read(folder, "src/page.html").replace(/@([A-Z]+)@/g, (_, name) => values[name]);
writeFileSync(process.argv[2], page + "\n");
