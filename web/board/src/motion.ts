/** Rows that glide to their new places, and scores that count up. Who prefers less motion gets none. */

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

const GLIDE_MS = 650;
const COUNT_MS = 600;
const EASING = "cubic-bezier(0.22, 0.9, 0.24, 1)";
const LEAST = matchMedia("(prefers-reduced-motion: reduce)");

/** Whether anything should move: not for those who prefer less, nor where nobody looks. */
function moves(): boolean {
  return !LEAST.matches && !document.hidden;
}

/**
 * Lets the children of a list glide from where they were (FLIP, by transform alone). order: changes when they do.
 *
 * Glides add up: a row that is still on its way goes on from where it is.
 */
export function useGlide(list: RefObject<HTMLElement | null>, order: string): void {
  const last = useRef({ tops: new Map<string, number>(), width: 0 });
  useLayoutEffect(() => {
    if (list.current === null) {
      return;
    }
    const rows = [...list.current.children].filter((row) => row instanceof HTMLElement);
    const tops = new Map(rows.map((row) => [idOf(row), row.offsetTop]));
    const { tops: before, width } = last.current;
    last.current = { tops, width: list.current.clientWidth };
    // A page of another width has its rows at other places, without any of them having moved.
    if (before.size > 0 && width === last.current.width && moves()) {
      for (const row of rows) {
        glide(row, before.get(idOf(row)), row.offsetTop);
      }
    }
  }, [order]);
}

function idOf(row: HTMLElement): string {
  return row.getAttribute("data-user") ?? "";
}

function glide(row: HTMLElement, from: number | undefined, to: number): void {
  if (from === undefined) {
    row.animate([{ opacity: 0 }, { opacity: 1 }], { duration: GLIDE_MS, easing: "ease-out" });
  } else if (from !== to) {
    const frames = [{ transform: `translateY(${from - to}px)` }, { transform: "none" }];
    row.animate(frames, { duration: GLIDE_MS, easing: EASING, composite: "add" });
  }
}

/** Writes a number into an element, counting up from what stood there. */
export function useCounting(
  element: RefObject<HTMLElement | null>,
  value: number,
  words: (value: number) => string,
): void {
  const shown = useRef(value);
  useLayoutEffect(() => {
    const [node, from, start] = [element.current, shown.current, performance.now()];
    if (node === null) {
      return;
    }
    const show = (number: number) => {
      shown.current = number;
      node.textContent = words(number);
    };
    if (from === value || !moves()) {
      show(value);
      return;
    }
    let frame = requestAnimationFrame(function step(now) {
      const part = Math.min(1, Math.max(0, (now - start) / COUNT_MS));
      show(Math.round(from + (value - from) * (1 - (1 - part) ** 3)));
      if (part < 1) {
        frame = requestAnimationFrame(step);
      }
    });
    return () => cancelAnimationFrame(frame);
  }, [element, value, words]);
}
