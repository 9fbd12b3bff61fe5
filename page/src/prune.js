// SPDX-License-Identifier: MIT
//
// Frames that a profile asks to leave out (drop_frames): wrappers of malloc that say nothing about the
// program. The expression must match a function's whole readable name. A matching frame goes with everything
// it called, but not if there would be no frame outside it. keep_frames names exceptions.

/** The expression for whole names, or null if there is none or it is not understood here. */
function whole(expression) {
  if (expression === "") return null;
  try {
    return new RegExp(`^(?:${expression})$`);
  } catch {
    return null;
  }
}

/** A function that says whether a name is one to leave out. */
export function dropMatcher(drop, keep) {
  const dropped = whole(drop);
  const kept = whole(keep);
  return (name) => dropped !== null && dropped.test(name) && !(kept !== null && kept.test(name));
}

/** Cuts a stack, outermost frame first. isDropped is by frame. */
export function prune(frames, isDropped) {
  let hasOuter = false;
  for (let i = 0; i < frames.length; i++) {
    if (!isDropped[frames[i]]) hasOuter = true;
    else if (hasOuter) return frames.slice(0, i);
  }
  return frames;
}
