// SPDX-License-Identifier: MIT
//
// Requests to the admin port that served the page, and to nothing else. If the port wants a token
// (HALLOC_HTTP_TOKEN), it is asked for once and kept as long as the tab is open.

const PATIENCE_MS = 10000;
const TOKEN = "halloc-token";

/** The port refused for want of the right token. */
export class NoToken extends Error {}

export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** The answer to a GET; anything but 200 is an error that says what happened. */
export async function get(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  let answer;
  try {
    answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    throw new Error(
      error.name === "TimeoutError" ? `no answer within ${PATIENCE_MS / 1000} s` : "no connection",
    );
  }
  if (answer.status === 401) throw new NoToken("the port wants a token");
  if (!answer.ok) throw new Error(`${answer.status} ${(await answer.text()).trim().slice(0, 200)}`);
  return answer;
}
