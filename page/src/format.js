// SPDX-License-Identifier: MIT
//
// Numbers as people read them. Sizes in binary units, as halloc's other texts have them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1536 -> "1.5 KiB": three digits that say something, none behind the point for bytes. */
export function bytes(value) {
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1024;
    unit++;
  }
  const digits = unit === 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return `${value < 0 ? "−" : ""}${trimmed(size.toFixed(digits))} ${UNITS[unit]}`;
}

function trimmed(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** With a sign, for differences. */
export function withSign(text, value) {
  return value > 0 ? "+" + text : text;
}

export function count(value) {
  return `${value < 0 ? "−" : ""}${Math.round(Math.abs(value)).toLocaleString("en-US")}`;
}

export function percent(part, whole) {
  if (whole === 0) return "0 %";
  const value = (100 * part) / whole;
  return `${Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2)} %`.replace("-", "−");
}

/** A value of a profile in its unit. */
export function amount(value, unit) {
  return unit === "bytes" ? bytes(value) : count(value);
}

export function clock(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString("en-GB");
}
