// SPDX-License-Identifier: MIT
//
// What is shown of a heap, in sentences: totals with their error, and what a reader must know to judge them.

import { amount, clock, count, withSign } from "./format.js";

/** Of the comments: what the allocator counted for the same total. */
const EXACT = {
  alloc_objects: "Mallocs",
  alloc_space: "TotalAlloc",
  inuse_objects: "HeapObjects",
  inuse_space: "HeapAlloc",
};

/** shown: {type, unit, net, isFiltered}. */
export function wordsOfProfile(profile, shown) {
  const total = `${shown.type}: ${amount(shown.net, shown.unit)}`;
  const error = shown.isFiltered ? "" : errorOf(profile, shown);
  return `${total}${error}. ${origin(profile)} ${sampling(profile)}`;
}

export function wordsOfDifference(profile, mark, { type, unit, net }) {
  const change = `Since the mark, ${type} changed by ${withSign(amount(net, unit), net)}.`;
  const isSame = profile.facts.get("pid") === mark.facts.get("pid");
  const stale = isSame ? "" : " The mark is of another process, so most of it differs.";
  const how = "Width is how much changed: ▲ grew, ▼ (striped) shrank.";
  return `${change}${stale} ${how} ${origin(profile)} ${sampling(profile)}`;
}

export function reasonForNothing(profile, isDifference) {
  if (isDifference) return "Nothing has changed since the mark.";
  if (profile.samples.length > 0) return "No row has this value under the chosen labels.";
  if (profile.rate !== 0) return "No allocation was sampled yet.";
  return "Profiling is off: the rate is 0. Start the program without HALLOC_MEMPROFILERATE=0.";
}

/** Standard error and exact total, if the comments have them and they differ from the total. */
function errorOf(profile, { type, unit }) {
  const error = Number(profile.facts.get(`${type}_se`) ?? 0);
  const exact = profile.facts.get(EXACT[type]);
  if (error === 0 || exact === undefined) return "";
  return ` ± ${amount(error, unit)} (1 standard error; exactly ${amount(Number(exact), unit)})`;
}

function origin(profile) {
  return `Profile of ${clock(profile.time)}, ${count(profile.samples.length)} rows.`;
}

function sampling(profile) {
  const dropped = Number(profile.facts.get("dropped") ?? 0);
  const overflow = Number(profile.facts.get("overflow") ?? 0);
  const losses = [
    dropped > 0 ? ` ${count(dropped)} samples were dropped: the values are too small.` : "",
    overflow > 0 ? ` ${count(overflow)} samples are under [overflow].` : "",
  ];
  return howSampled(profile.rate) + losses.join("");
}

function howSampled(rate) {
  if (rate === 1) return "Every allocation is recorded.";
  if (rate > 1) return `Estimated from samples, one per ${amount(rate, "bytes")} on average.`;
  return "The rate is 0 now: what was allocated since then is missing.";
}
