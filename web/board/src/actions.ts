/**
 * The actions that the playground offers. No call lists the catalogue, which is the operator's business: these are the
 * players' actions of the default `scoreboard.toml` (a test compares them), and what else counted here once.
 */

export const DEFAULT_ACTIONS: readonly string[] = ["win-round", "collect-coin", "daily-bonus"];

const PLACE = "scoreboard.actions";
const REMEMBERED_MAX = 8;

export function remembered(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(kept) ? kept.filter((id) => typeof id === "string").slice(0, REMEMBERED_MAX) : [];
  } catch {
    return []; // no storage here, or not ours
  }
}

/** Notes an action that counted, unless it is known. Returns what is remembered. */
export function remember(action: string): string[] {
  const kept = remembered();
  if (DEFAULT_ACTIONS.includes(action) || kept.includes(action)) {
    return kept;
  }
  const more = [action, ...kept].slice(0, REMEMBERED_MAX);
  try {
    localStorage.setItem(PLACE, JSON.stringify(more));
  } catch {
    // Then it is known until the page is left.
  }
  return more;
}
