// SPDX-License-Identifier: Apache-2.0
// The host's handles and their ends. Apart from graph.ts, because the garbage collector's hook ends them too.
import { finalizeExecutionContext, unload } from "./imports";

/** How many objects share a graph: a host gives one number to all who load a name. */
@unmanaged class Share {
  number: u32 = 0;
  count: u32 = 0;
  next: usize = 0;
}

let firstShare: usize = 0;

/** Counts a graph in. Called before any object is made of it: that may collect another one of the same number. */
export function share(number: u32): void {
  for (let at = firstShare; at; at = changetype<Share>(at).next) {
    if (changetype<Share>(at).number == number) {
      changetype<Share>(at).count++;
      return;
    }
  }
  const made = heap.alloc(offsetof<Share>());
  changetype<Share>(made).number = number;
  changetype<Share>(made).count = 1;
  changetype<Share>(made).next = firstShare;
  firstShare = made;
}

/** Counts a graph out; whether that was the last. */
function isLast(number: u32): bool {
  let before: usize = 0;
  for (let at = firstShare; at; before = at, at = changetype<Share>(at).next) {
    const found = changetype<Share>(at);
    if (found.number != number) continue;
    if (--found.count) return false;
    if (before) changetype<Share>(before).next = found.next;
    else firstShare = found.next;
    heap.free(at);
    return true;
  }
  return false;
}

/** A graph's or a context's number at the host. */
@final export class Handle {
  isOpen: bool = true;

  constructor(public number: u32, private isGraph: bool) {}

  /** Gives it back; hosts without WasmEdge's calls (NN_PORTABLE) keep it until the guest ends. */
  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    if (this.isGraph && !isLast(this.number)) return;
    if (!isDefined(NN_PORTABLE)) {
      if (this.isGraph) unload(this.number);
      else finalizeExecutionContext(this.number);
    }
  }
}

export function closed(id: u32, object: usize): void {
  if (id == idof<Handle>()) changetype<Handle>(object).close();
}
