// SPDX-License-Identifier: MIT
//
// Reads the wire format of protocol buffers: a message is a run of fields, each a key (number and wire type)
// and a value. Integers are taken as signed 64 bits and become numbers, exact up to 2^53: enough for sizes
// and for addresses of programs. What breaks off or is no such message is an error; fields that the caller
// does not know are its to ignore.

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;
const LONGEST = 10; // bytes of an integer
const text = new TextDecoder();

/** A position in bytes. */
class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  varint() {
    const start = this.at;
    let value = 0;
    let scale = 1;
    for (;;) {
      if (this.at >= this.bytes.length) throw new Error("the profile is cut off");
      const byte = this.bytes[this.at++];
      value += (byte & 127) * scale;
      if (byte < 128) break;
      scale *= 128;
    }
    const size = this.at - start;
    if (size > LONGEST) throw new Error("the profile has a number of more than 64 bits");
    return size < LONGEST ? value : this.negative(start);
  }

  /** The numbers that take ten bytes: with the highest of the 64 bits set. */
  negative(start) {
    let value = 0n;
    for (let i = 0; i < LONGEST; i++) value |= BigInt(this.bytes[start + i] & 127) << BigInt(7 * i);
    return Number(BigInt.asIntN(64, value));
  }

  skip(size) {
    if (size > this.bytes.length - this.at) throw new Error("the profile is cut off");
    this.at += size;
  }

  slice() {
    const size = this.varint();
    const start = this.at;
    this.skip(size);
    return this.bytes.subarray(start, this.at);
  }
}

/** Calls visit(number, value) for each field; value is a number, or bytes: a text, message or packed list. */
export function eachField(bytes, visit) {
  const reader = new Reader(bytes);
  while (reader.at < bytes.length) {
    const key = reader.varint();
    const wire = key & 7;
    const number = Math.floor(key / 8);
    if (wire === VARINT) visit(number, reader.varint());
    else if (wire === BYTES) visit(number, reader.slice());
    else if (wire === FIXED64) reader.skip(8);
    else if (wire === FIXED32) reader.skip(4);
    else throw new Error(`the profile has a field of wire type ${wire}`);
  }
}

/** Appends a repeated integer, which comes one by one or packed. */
export function pushIntegers(list, value) {
  if (typeof value === "number") {
    list.push(value);
    return;
  }
  const reader = new Reader(value);
  while (reader.at < value.length) list.push(reader.varint());
}

export function toText(bytes) {
  return text.decode(bytes);
}
