// SPDX-License-Identifier: MIT
//
// The statistics of one reading as sentences.

import { bytes, count, percent } from "./format.js";
import { limitedQuantity, limitOf } from "./memstats.js";

/** rate: bytes allocated per second, or null. */
export function summarize(stats, rate) {
  const sentences = [
    `The program holds ${bytes(stats.HeapAlloc)} in ${count(stats.HeapObjects)} blocks`,
    rate === null ? "." : ` and allocates ${bytes(rate)} per second.`,
    ` ${count(stats.Threads)} ${stats.Threads === 1 ? "thread has" : "threads have"} allocated.`,
    ` The process has ${bytes(stats.RSS)} resident.`,
    ` Of halloc's memory ${bytes(stats.HeapInuse)} are in use for blocks and`,
    ` ${bytes(stats.HeapIdle - stats.HeapReleased)} are idle and kept for the next ones;`,
    ` ${bytes(stats.ReleasedTotal)} were given back to the system so far.`,
  ];
  return sentences.join("") + limitSentence(stats);
}

function limitSentence(stats) {
  const limit = limitOf(stats);
  if (limit === null) return " There is no memory limit.";
  const quantity = limitedQuantity(stats);
  const failures = stats.MemoryLimitExceeded;
  const share = percent(quantity, limit);
  const broken =
    failures === 0 ? "" : ` It could not be kept ${count(failures)} ${failures === 1 ? "time" : "times"}.`;
  return ` ${bytes(quantity)} count towards the memory limit of ${bytes(limit)}: ${share}.${broken}`;
}
