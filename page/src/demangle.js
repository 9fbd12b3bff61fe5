// SPDX-License-Identifier: MIT
//
// The name of a C++ or Rust function as people write it, without the arguments of functions and templates:
// what profiles are read by. `_ZNSt6vectorIiSaIiEE9push_backERKi` is `std::vector::push_back`.
//
// Follows the grammar of the Itanium C++ ABI. Types and template arguments are read only to get past them and
// to number what later parts refer to (substitutions). What the reader does not know leaves the name as it
// was.

const STANDARD = {
  a: "std::allocator",
  b: "std::basic_string",
  s: "std::basic_string",
  i: "std::basic_istream",
  o: "std::basic_ostream",
  d: "std::basic_iostream",
};
const BUILTIN = {
  v: "void",
  w: "wchar_t",
  b: "bool",
  c: "char",
  a: "signed char",
  h: "unsigned char",
  s: "short",
  t: "unsigned short",
  i: "int",
  j: "unsigned int",
  l: "long",
  m: "unsigned long",
  x: "long long",
  y: "unsigned long long",
  n: "__int128",
  o: "unsigned __int128",
  f: "float",
  d: "double",
  e: "long double",
  g: "__float128",
  z: "...",
};
const BUILTIN_D = "defhisuacn";

// Code, sign, and number of operands in an expression.
const OPERATORS = new Map(
  (
    "nw new 0,na new[] 0,dl delete 1,da delete[] 1,aw co_await 1,ps + 1,ng - 1,ad & 1,de * 1,co ~ 1," +
    "pl + 2,mi - 2,ml * 2,dv / 2,rm % 2,an & 2,or | 2,eo ^ 2,aS = 2,pL += 2,mI -= 2,mL *= 2,dV /= 2," +
    "rM %= 2,aN &= 2,oR |= 2,eO ^= 2,ls << 2,rs >> 2,lS <<= 2,rS >>= 2,eq == 2,ne != 2,lt < 2,gt > 2," +
    "le <= 2,ge >= 2,ss <=> 2,nt ! 1,aa && 2,oo || 2,pp ++ 1,mm -- 1,pm ->* 2,pt -> 2,cl () 0," +
    "ix [] 2,qu ? 3"
  )
    .split(",")
    .map((row) => row.split(" "))
    .map(([code, sign, operands]) => [code, { sign, operands: Number(operands) }]),
);
OPERATORS.set("cm", { sign: ",", operands: 2 });

class Unknown extends Error {}

class Demangler {
  constructor(mangled) {
    this.mangled = mangled;
    this.at = 2; // behind "_Z"
    this.known = []; // substitutions
    this.depth = 0;
  }

  peek(ahead = 0) {
    return this.mangled[this.at + ahead] ?? "";
  }

  take(text) {
    if (!this.mangled.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  expect(text) {
    if (!this.take(text)) throw new Unknown();
  }

  remember(name) {
    this.known.push(name);
    return name;
  }

  /** Digits in base 10 or 36, maybe none. */
  number(pattern = /[0-9]*/y) {
    pattern.lastIndex = this.at;
    const digits = pattern.exec(this.mangled)[0];
    this.at += digits.length;
    return digits;
  }

  /** Guards against names that nest without end. */
  nested(read) {
    if (++this.depth > 200) throw new Unknown();
    const result = read();
    this.depth--;
    return result;
  }

  encoding() {
    if (this.peek() === "T" || (this.peek() === "G" && this.peek(1) !== "")) return this.special();
    return this.name();
  }

  /** Of what is no function by itself, only what code can be found in. */
  special() {
    if (this.take("Th")) return this.thunk(1);
    if (this.take("Tv")) return this.thunk(2);
    if (this.take("GV") || this.take("GR")) return this.name();
    if (this.take("GTt") || this.take("GTn")) return this.encoding();
    throw new Unknown();
  }

  thunk(offsets) {
    for (let i = 0; i < offsets; i++) {
      this.take("n");
      this.number();
      this.expect("_");
    }
    return this.encoding();
  }

  name() {
    return this.nested(() => {
      if (this.take("N")) return this.nestedName();
      if (this.take("Z")) return this.localName();
      if (this.peek() === "S" && this.peek(1) !== "t") {
        const name = this.substitution();
        this.templateArgs();
        return name;
      }
      const name = this.take("St") ? `std::${this.unqualified("")}` : this.unqualified("");
      if (this.peek() === "I") {
        this.remember(name);
        this.templateArgs();
      }
      return name;
    });
  }

  nestedName() {
    while ("rVK".includes(this.peek()) && this.peek() !== "") this.at++;
    if ("RO".includes(this.peek())) this.at++;
    let name = "";
    while (!this.take("E")) {
      const isReference = this.peek() === "S";
      if (isReference) name = this.substitution();
      else if (this.peek() === "T") name = this.templateParam();
      else if (this.peek() === "D" && "tT".includes(this.peek(1))) name = this.decltype();
      else if (this.peek() === "I") this.templateArgs();
      else if (this.take("M")) continue;
      else name = (name === "" ? "" : name + "::") + this.unqualified(name);
      if (!isReference && this.peek() !== "E") this.remember(name);
    }
    return name;
  }

  localName() {
    const outer = this.encoding();
    while (!this.take("E")) this.type();
    if (this.take("s")) {
      this.discriminator();
      return outer;
    }
    if (this.take("d")) {
      this.number();
      this.expect("_");
    }
    const inner = this.name();
    this.discriminator();
    return `${outer}::${inner}`;
  }

  discriminator() {
    if (this.take("__")) {
      this.number();
      this.expect("_");
    } else if (this.peek() === "_" && /[0-9]/.test(this.peek(1))) {
      this.at += 2;
    }
  }

  unqualified(prefix) {
    let name;
    this.take("L");
    const first = this.peek();
    if (/[0-9]/.test(first)) name = this.sourceName();
    else if (first === "C" && /[1-5I]/.test(this.peek(1))) name = this.constructorName(prefix);
    else if (first === "D" && /[0-5]/.test(this.peek(1))) {
      this.at += 2;
      name = "~" + lastPart(prefix);
    } else if (this.take("DC")) name = this.bindings();
    else if (this.take("Ut")) name = `{unnamed type#${this.counted()}}`;
    else if (this.take("Ul")) {
      while (!this.take("E")) this.type();
      name = `{lambda#${this.counted()}}`;
    } else name = this.operatorName();
    while (this.take("B")) name += `[abi:${this.sourceName()}]`;
    return name;
  }

  sourceName() {
    const size = Number(this.number());
    const name = this.mangled.substr(this.at, size);
    if (size === 0 || name.length < size) throw new Unknown();
    this.at += size;
    return name.startsWith("_GLOBAL__N") ? "(anonymous namespace)" : name;
  }

  constructorName(prefix) {
    this.at++;
    const inherits = this.take("I");
    this.at++;
    if (inherits) this.type();
    return lastPart(prefix);
  }

  bindings() {
    const names = [];
    while (!this.take("E")) names.push(this.sourceName());
    return `[${names.join(", ")}]`;
  }

  /** Of several in one place: "_" is the first, "0_" the second. */
  counted() {
    const digits = this.number();
    this.expect("_");
    return digits === "" ? 1 : Number(digits) + 2;
  }

  operatorName() {
    if (this.take("cv")) return `operator ${this.type()}`;
    if (this.take("li")) return `operator"" ${this.sourceName()}`;
    const known = OPERATORS.get(this.peek() + this.peek(1));
    if (known === undefined) throw new Unknown();
    this.at += 2;
    return (/^[a-z]/.test(known.sign) ? "operator " : "operator") + known.sign;
  }

  substitution() {
    this.expect("S");
    if (this.take("t")) return "std";
    const standard = STANDARD[this.peek()];
    if (standard !== undefined) {
      this.at++;
      return standard;
    }
    const digits = this.number(/[0-9A-Z]*/y);
    this.expect("_");
    const name = this.known[digits === "" ? 0 : parseInt(digits, 36) + 1];
    if (name === undefined) throw new Unknown();
    return name;
  }

  templateParam() {
    this.expect("T");
    this.number();
    this.expect("_");
    return "T";
  }

  templateArgs() {
    if (!this.take("I")) return;
    this.nested(() => {
      while (!this.take("E")) this.templateArg();
    });
  }

  templateArg() {
    if (this.take("X")) {
      this.expression();
      this.expect("E");
    } else if (this.peek() === "L") this.literal();
    else if (this.take("J")) while (!this.take("E")) this.templateArg();
    else this.type();
  }

  literal() {
    this.expect("L");
    if (this.take("_Z")) {
      this.encoding();
      while (!this.take("E")) this.type();
      return;
    }
    this.type();
    this.number(/[^E]*/y);
    this.expect("E");
  }

  decltype() {
    this.at += 2;
    this.expression();
    this.expect("E");
    return "decltype";
  }

  expression() {
    this.nested(() => {
      if (this.peek() === "L") return void this.literal();
      if (this.peek() === "T") return void this.templateParam();
      if (this.take("fp") || this.take("fL")) {
        this.number(/[^_]*/y);
        return this.expect("_");
      }
      if (this.take("cl")) {
        while (!this.take("E")) this.expression();
        return undefined;
      }
      if (this.take("cv")) return void (this.type(), this.listed());
      if (this.take("sr")) return void (this.type(), this.unqualified(""), this.templateArgs());
      if (this.take("st") || this.take("at") || this.take("ti")) return void this.type();
      if (this.take("sZ")) return void (this.peek() === "T" ? this.templateParam() : this.expression());
      if (this.take("sz") || this.take("sp") || this.take("nx") || this.take("az")) return this.expression();
      if (this.take("dt") || this.take("pt")) return void (this.expression(), this.member());
      const known = OPERATORS.get(this.peek() + this.peek(1));
      if (known === undefined) return this.member();
      this.at += 2;
      for (let i = 0; i < known.operands; i++) this.expression();
      return undefined;
    });
  }

  listed() {
    if (!this.take("_")) return this.expression();
    while (!this.take("E")) this.expression();
    return undefined;
  }

  member() {
    this.take("on");
    if (!/[0-9L]/.test(this.peek())) throw new Unknown();
    this.unqualified("");
    this.templateArgs();
  }

  type() {
    return this.nested(() => {
      const first = this.peek();
      if (BUILTIN[first] !== undefined) {
        this.at++;
        return BUILTIN[first];
      }
      if (/[rVK]/.test(first)) {
        while (/[rVK]/.test(this.peek())) this.at++;
        return this.remember(this.peek() === "F" ? this.functionType() : this.type());
      }
      if (/[PROCG]/.test(first)) {
        this.at++;
        return this.remember(this.type() + ({ P: "*", R: "&", O: "&&" }[first] ?? ""));
      }
      return this.compound(first);
    });
  }

  compound(first) {
    if (first === "F") return this.remember(this.functionType());
    if (first === "A") return this.remember(this.array());
    if (first === "D") return this.typeOfD();
    if (first === "S" && this.peek(1) !== "t") return this.substitutedType();
    if (first === "T") {
      const name = this.remember(this.templateParam());
      if (this.peek() !== "I") return name;
      this.templateArgs();
      return this.remember(name);
    }
    if (this.take("M")) {
      this.type();
      return this.remember(this.type());
    }
    if (this.take("u")) return this.remember(this.sourceName());
    if (this.take("U")) {
      this.sourceName();
      this.templateArgs();
      return this.remember(this.type());
    }
    return this.remember(this.name());
  }

  substitutedType() {
    const isStandard = STANDARD[this.peek(1)] !== undefined;
    const name = this.substitution();
    if (this.peek() === "I") {
      this.templateArgs();
      return this.remember(name);
    }
    return isStandard || name !== "std" ? name : this.remember(name);
  }

  functionType() {
    this.expect("F");
    this.take("Y");
    while (!this.take("E") && !this.take("RE") && !this.take("OE")) this.type();
    return "function";
  }

  array() {
    this.expect("A");
    if (/[0-9_]/.test(this.peek())) this.number();
    else this.expression();
    this.expect("_");
    return this.type();
  }

  typeOfD() {
    const second = this.peek(1);
    if (second !== "" && BUILTIN_D.includes(second)) {
      this.at += 2;
      return "D" + second;
    }
    if (second === "t" || second === "T") return this.remember(this.decltype());
    if (this.take("Dp")) return this.remember(this.type());
    if (this.take("Do") || this.take("Dx")) return this.remember(this.functionType());
    if (this.take("DF")) {
      this.number();
      if (!this.take("b")) this.expect("_");
      return "float";
    }
    if (this.take("Dv")) {
      this.number();
      this.expect("_");
      return this.remember(this.type());
    }
    throw new Unknown();
  }
}

/** The last component of a::b::c. */
function lastPart(name) {
  const at = name.lastIndexOf("::");
  return name.slice(at < 0 ? 0 : at + 2).replace(/\[abi:.*/, "");
}

/** Rust's first scheme looks like C++ with a hash as the last part, and signs written as $..$. */
function fromRust(name) {
  const signs = { LT: "<", GT: ">", RF: "&", BP: "*", C: ",", SP: "@", LP: "(", RP: ")" };
  return name
    .replace(/::h[0-9a-f]{16}$/, "")
    .replace(/\$u([0-9a-f]{1,5})\$/g, (_, code) => String.fromCodePoint(parseInt(code, 16)))
    .replace(/\$([A-Z]{1,2})\$/g, (all, sign) => signs[sign] ?? all)
    .replace(/\.\./g, "::")
    .replace(/(^|::)_(?=<)/g, "$1");
}

export function demangle(name) {
  if (!name.startsWith("_Z")) return name;
  try {
    const readable = new Demangler(name).encoding();
    return /::h[0-9a-f]{16}$/.test(readable) ? fromRust(readable) : readable;
  } catch (error) {
    if (error instanceof Unknown) return name;
    throw error;
  }
}
