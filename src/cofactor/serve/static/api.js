// Questions to the service.

const KEPT = "cofactor-key";

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let keyWanted = () => {};

/** Who is to be told that a key is needed. */
export function onKeyWanted(listener) {
  keyWanted = listener;
}

/** The key for the time that this tab is open. */
export function useKey(key) {
  sessionStorage.setItem(KEPT, key);
}

/** Asks, and returns {data, server, roundTrip}: the answer, and milliseconds there and altogether. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEPT);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const begun = performance.now();
  let answer;
  try {
    answer = await fetch("/v1" + path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The service does not answer. Your ratings are safe in this browser.");
  }
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    if (answer.status === 401 || answer.status === 403) keyWanted(data.detail);
    throw new Problem(answer.status, data.detail ?? `The service answered ${answer.status}.`);
  }
  const told = /dur=([\d.]+)/.exec(answer.headers.get("Server-Timing") ?? "");
  return { data, server: told ? Number(told[1]) : null, roundTrip: performance.now() - begun };
}

export const path = (...parts) => "/" + parts.map(encodeURIComponent).join("/");
