// Questions to the service.

const KEPT = "cofactor-key";

export class Problem extends Error {
  constructor(status, detail, requestId = null) {
    super(detail);
    this.status = status;
    this.requestId = requestId;
  }
}

let keyWanted = () => {};

/** Who is to be told that a key is needed, and in which words the service said so. */
export function onKeyWanted(listener) {
  keyWanted = listener;
}

// A browser may forbid storage; then a key lasts until the page is left.
let held = null;

export function heldKey() {
  try {
    return sessionStorage.getItem(KEPT) ?? held;
  } catch {
    return held;
  }
}

/** The key for the time that this tab is open; null forgets it. */
export function useKey(key) {
  held = key;
  try {
    if (key === null) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, key);
  } catch { /* held is enough */ }
}

/** Asks, and returns {data, server, roundTrip}: the answer, and milliseconds there and altogether. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  const key = heldKey();
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const begun = performance.now();
  let answer, data;
  try {
    answer = await fetch("/v1" + path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
    data = await answer.json().catch((error) => {
      if (error.name === "AbortError") throw error;
      return null; // an answer without JSON, such as a proxy's
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The service does not answer. Your ratings are safe in this browser.");
  }
  if (!answer.ok) {
    const detail = data?.detail ?? data?.title ?? `The service answered with ${answer.status}.`;
    if (answer.status === 401 || answer.status === 403) keyWanted(detail);
    throw new Problem(answer.status, detail, data?.request_id);
  }
  if (data === null && answer.status !== 204) throw new Problem(answer.status, "The answer cannot be read.");
  const told = /dur=([\d.]+)/.exec(answer.headers.get("Server-Timing") ?? "");
  return { data, server: told ? Number(told[1]) : null, roundTrip: performance.now() - begun };
}

/** A path of parts; ids may hold anything, so each is encoded. */
export const path = (...parts) => "/" + parts.map(encodeURIComponent).join("/");
