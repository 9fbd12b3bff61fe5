// SPDX-License-Identifier: MIT
// JavaScript objects, native buffers, compression and hashing on the thread pool, workers and a child process.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');
const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
const { execFileSync } = require('child_process');
const { promisify } = require('util');

const digest = (data) => crypto.createHash('sha256').update(data).digest('hex');
const documents = (count, seed) =>
  Array.from({ length: count }, (_, i) => ({ id: i, name: `n${(i * seed) % 97}`, list: [i, i / 2], text: 'x'.repeat(i % 50) }));

async function main() {
  const text = JSON.stringify(documents(50000, 3));
  console.log(digest(text), digest(JSON.stringify(JSON.parse(text))));
  const packed = await Promise.all([1, 5, 9].map((level) => promisify(zlib.gzip)(text, { level })));
  for (const buffer of packed) console.log(digest(buffer), digest(zlib.gunzipSync(buffer)));
  const keys = await Promise.all([1, 2, 3, 4].map((i) => promisify(crypto.pbkdf2)('secret', `salt${i}`, 2000, 64, 'sha512')));
  console.log(digest(Buffer.concat(keys)));
  const buffers = Array.from({ length: 3000 }, (_, i) => Buffer.alloc(((i * 7919) % 20000) + 1, i));
  console.log(digest(Buffer.concat(buffers)));
  const results = await Promise.all([1, 2, 3].map((seed) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: seed });
    worker.once('message', resolve);
    worker.once('error', reject);
  })));
  console.log(results.join(' '));
  process.stdout.write(execFileSync(process.execPath, ['-e', 'console.log(JSON.stringify({a: [1, 2]}))']));
}

if (isMainThread) {
  main();
} else {
  parentPort.postMessage(digest(JSON.stringify(documents(10000, workerData))));
}
