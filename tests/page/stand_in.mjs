// SPDX-License-Identifier: MIT
//
// Stands in for the admin port: serves the page as built, and statistics and profiles that a test sets.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { gzipSync } from "node:zlib";

const MIB = 2 ** 20;

export function someStats(changes = {}) {
  return {
    Alloc: 64 * MIB,
    TotalAlloc: 100 * MIB,
    Sys: 140 * MIB,
    Lookups: 0,
    Mallocs: 3000,
    Frees: 1000,
    HeapAlloc: 64 * MIB,
    HeapSys: 128 * MIB,
    HeapIdle: 56 * MIB,
    HeapInuse: 72 * MIB,
    HeapReleased: 40 * MIB,
    HeapObjects: 2000,
    Threads: 4,
    RSS: 101 * MIB,
    MemoryLimit: "INT64_MAX",
    MemoryLimitExceeded: 0,
    ReleasedTotal: 7 * MIB,
    ...changes,
  };
}

/** As serve/memstats_text.c prints it: INT64_MAX in full, which a number of JavaScript cannot hold. */
function statsJson(stats) {
  return JSON.stringify(stats).replace('"INT64_MAX"', "9223372036854775807") + "\n";
}

export class StandIn {
  static async start(pageFile) {
    const server = new StandIn(gzipSync(readFileSync(pageFile)));
    await new Promise((resolve) => server.http.listen(0, "127.0.0.1", resolve));
    server.url = `http://127.0.0.1:${server.http.address().port}/`;
    return server;
  }

  constructor(page) {
    this.page = page;
    this.stats = someStats();
    this.profile = Buffer.alloc(0);
    this.failure = 0; // a status to answer everything but the page with
    this.token = null;
    this.paths = [];
    this.http = createServer((request, response) => this.answer(request, response));
  }

  answer(request, response) {
    this.paths.push(request.url);
    const isPage = request.url === "/";
    if (isPage)
      return send(
        response,
        200,
        {
          "Content-Type": "text/html; charset=utf-8",
          "Content-Encoding": "gzip",
        },
        this.page,
      );
    if (this.token !== null && request.headers.authorization !== `Bearer ${this.token}`)
      return send(response, 401, {}, "token\n");
    if (this.failure !== 0) return send(response, this.failure, {}, "planted failure\n");
    if (request.url === "/memstats")
      return send(response, 200, { "Content-Type": "application/json" }, statsJson(this.stats));
    if (request.url === "/debug/pprof/heap")
      return send(response, 200, { "Content-Type": "application/octet-stream" }, this.profile);
    return send(response, 404, {}, "404 page not found\n");
  }

  stop() {
    this.http.closeAllConnections();
    this.http.close();
  }
}

function send(response, status, headers, body) {
  response.writeHead(status, {
    "Content-Length": Buffer.byteLength(body),
    ...headers,
  });
  response.end(body);
}
