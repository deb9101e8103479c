// The quality that people ask for, 0 to 100, of a file's quality step, 0 to 1000 (aecodec/codec/quality.py).

const BEND = 50;
const BEND_STEP = 750;
const STEPS = 1000;

/** To two decimals. */
export function qualityOf(step) {
  const low = (Math.min(step, BEND_STEP) * BEND) / BEND_STEP;
  const high = (Math.max(step - BEND_STEP, 0) * (100 - BEND)) / (STEPS - BEND_STEP);
  return Math.round(100 * (low + high)) / 100;
}
