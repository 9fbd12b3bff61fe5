// SPDX-License-Identifier: MIT
//
// A headless Chromium and one page in it, driven by its DevTools protocol through a pipe: no port, no
// library.
//
// Everything the page logs as an error, every exception and every request is kept for the tests to look at.
// Waiting is asking again until a condition holds, with a deadline.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PROGRAM = process.env.CHROMIUM ?? "chromium";
const PATIENCE_MS = 60000;
const ASK_AGAIN_MS = 30;

export class Browser {
  static async start() {
    const browser = new Browser();
    await browser.send("Browser.getVersion");
    return browser;
  }

  constructor() {
    this.profile = mkdtempSync(join(tmpdir(), "halloc-chromium."));
    const switches = [
      "--headless=new",
      "--remote-debugging-pipe",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--force-color-profile=srgb",
      "--hide-scrollbars",
      `--user-data-dir=${this.profile}`,
      "about:blank",
    ];
    this.process = spawn(PROGRAM, switches, {
      stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
    });
    this.stderr = "";
    this.process.stderr.on("data", (chunk) => (this.stderr += chunk));
    this.waiting = new Map();
    this.pages = new Map();
    this.next = 1;
    this.received = "";
    this.process.on("error", (error) =>
      this.fail(`${PROGRAM} does not start: ${error.message} (Debian package chromium)`),
    );
    this.process.on("exit", (code) => this.fail(`${PROGRAM} ended with ${code}: ${this.stderr.slice(-500)}`));
    this.process.stdio[3].on("error", () => {}); // told by exit
    this.process.stdio[4].setEncoding("utf8").on("data", (text) => this.receive(text));
  }

  fail(reason) {
    for (const { reject } of this.waiting.values()) reject(new Error(reason));
    this.waiting.clear();
  }

  receive(text) {
    const messages = (this.received + text).split("\0");
    this.received = messages.pop();
    for (const message of messages) this.dispatch(JSON.parse(message));
  }

  dispatch(message) {
    const call = this.waiting.get(message.id);
    if (call === undefined) {
      this.pages.get(message.sessionId)?.event(message.method, message.params);
      return;
    }
    this.waiting.delete(message.id);
    if (message.error) call.reject(new Error(`${call.method}: ${message.error.message}`));
    else call.resolve(message.result);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, method });
      this.process.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
    });
  }

  async newPage(width, height) {
    const { browserContextId } = await this.send("Target.createBrowserContext");
    const { targetId } = await this.send("Target.createTarget", {
      url: "about:blank",
      browserContextId,
    });
    const { sessionId } = await this.send("Target.attachToTarget", {
      targetId,
      flatten: true,
    });
    const page = new Page(this, sessionId, targetId);
    this.pages.set(sessionId, page);
    for (const domain of ["Page", "Runtime", "Network", "Log"]) await page.send(`${domain}.enable`);
    await page.resize(width, height);
    return page;
  }

  async stop() {
    this.process.removeAllListeners("exit");
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.send("Browser.close").catch(() => {});
    const timer = setTimeout(() => this.process.kill("SIGKILL"), 10000);
    await ended;
    clearTimeout(timer);
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

class Page {
  constructor(browser, session, target) {
    this.browser = browser;
    this.session = session;
    this.target = target;
    this.errors = [];
    this.requests = [];
  }

  send(method, params) {
    return this.browser.send(method, params, this.session);
  }

  event(method, params) {
    if (method === "Runtime.exceptionThrown") {
      const { exception, text } = params.exceptionDetails;
      this.errors.push(exception?.description ?? text);
    } else if (method === "Runtime.consoleAPICalled" && params.type !== "log") {
      this.errors.push(params.args.map((arg) => arg.value ?? arg.description).join(" "));
    } else if (method === "Log.entryAdded" && params.entry.level === "error") {
      this.errors.push(`${params.entry.text} ${params.entry.url ?? ""}`);
    } else if (method === "Network.requestWillBeSent") {
      this.requests.push(params.request.url);
    }
  }

  async resize(width, height, isDark = false, scale = 1) {
    await this.send("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: scale,
      mobile: width < 600,
    });
    await this.send("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: isDark ? "dark" : "light" }],
    });
  }

  async open(url) {
    const { errorText } = await this.send("Page.navigate", { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
  }

  /** The value of an expression in the page. */
  async value(expression) {
    const options = {
      expression,
      returnByValue: true,
      awaitPromise: true,
      allowUnsafeEvalBlockedByCSP: false,
    };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", options);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until the expression is true, and returns its value. */
  async until(expression, what = expression) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const value = await this.value(expression).catch((error) =>
        Date.now() > deadline ? Promise.reject(error) : false,
      );
      if (value) return value;
      if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS / 1000} s: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
    }
  }

  text(id) {
    return this.value(`document.getElementById(${JSON.stringify(id)}).textContent`);
  }

  async mouse(type, x, y) {
    const isButton = type !== "mouseMoved";
    await this.send("Input.dispatchMouseEvent", {
      type,
      x,
      y,
      button: isButton ? "left" : "none",
      clickCount: isButton ? 1 : 0,
    });
  }

  async click(x, y) {
    await this.mouse("mouseMoved", x, y);
    await this.mouse("mousePressed", x, y);
    await this.mouse("mouseReleased", x, y);
  }

  /** Clicks in the middle of an element, as a person would: fails if it is not there to be clicked. */
  async clickOn(selector) {
    const box = await this.value(`(() => {
      const element = document.querySelector(${JSON.stringify(selector)});
      element.scrollIntoView({ block: "center" });
      const box = element.getBoundingClientRect();
      return [box.left + box.width / 2, box.top + box.height / 2];
    })()`);
    await this.click(...box);
  }

  async press(key) {
    const code = {
      Enter: 13,
      Escape: 27,
      Tab: 9,
      ArrowUp: 38,
      ArrowDown: 40,
      ArrowLeft: 37,
      ArrowRight: 39,
    }[key];
    const text = key === "Enter" ? { text: "\r" } : {};
    await this.send("Input.dispatchKeyEvent", {
      type: "keyDown",
      key,
      code: key,
      windowsVirtualKeyCode: code,
      ...text,
    });
    await this.send("Input.dispatchKeyEvent", {
      type: "keyUp",
      key,
      code: key,
      windowsVirtualKeyCode: code,
    });
  }

  async type(text) {
    await this.send("Input.insertText", { text });
  }

  async screenshot(clip = undefined) {
    const options = {
      format: "png",
      captureBeyondViewport: clip !== undefined,
      clip,
    };
    const { data } = await this.send("Page.captureScreenshot", options);
    return Buffer.from(data, "base64");
  }

  async close() {
    await this.browser.send("Target.closeTarget", { targetId: this.target });
  }
}
