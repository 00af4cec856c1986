// Counts what holds. One step that does not hold does not hide the next.

import { isDeepStrictEqual } from "node:util";

// Where Agentry is, the key, and the upstreams behind it: `anthropic-tools` is the alias of `tools` at `anthropic`.
export const [BASE, KEY, ...UPSTREAMS] = process.argv.slice(2);
// One red point.
export const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";

let passed = 0;
let total = 0;

export async function step(name, body) {
  total += 1;
  try {
    await body();
    passed += 1;
  } catch (error) {
    console.log("FAILED:", name, "\n", error);
  }
}

export function same(found, expected) {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Error(`${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
  }
}

export async function raised(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was raised");
}

export function finish() {
  console.log(`${passed} of ${total} steps`);
  process.exit(passed === total ? 0 : 1);
}
