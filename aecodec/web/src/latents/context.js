// The four steps in which latents are predicted, and which latent belongs to which (aecodec/latents/context.py).

import { planes } from "./planes.js";

export const STEPS = 4;
/** Phase (row, column) within each cell of 2 x 2: in step s, channels c with c % 4 = g decode phase (g + s) % 4. */
export const PHASES = [
  [0, 0],
  [1, 1],
  [0, 1],
  [1, 0],
];

/** Float32Array (channels, height, width): the step of each latent, every step once in each cell of 2 x 2. */
export function stepMap(channels, height, width) {
  const map = new Float32Array(channels * height * width);
  for (let step = 0; step < STEPS; step++) {
    eachOfStep({ channels, height, width }, step, (_, place) => {
      map[place] = step;
    });
  }
  return map;
}

/** Calls visit(cell, place) for each latent of a step: its index in (channels, height / 2, width / 2), and in the plane. */
function eachOfStep({ channels, height, width }, step, visit) {
  let cell = 0;
  for (let channel = 0; channel < channels; channel++) {
    const [row, column] = PHASES[((channel % STEPS) + step) % STEPS];
    for (let top = row; top < height; top += 2) {
      const start = (channel * height + top) * width;
      for (let left = column; left < width; left += 2) visit(cell++, start + left);
    }
  }
}

/** Planes of even sides -> the latents of a step, of each cell of 2 x 2 and channel one. */
export function cellsOfStep(plane, step) {
  const cells = planes(plane.data.constructor, plane.channels, plane.height / 2, plane.width / 2);
  eachOfStep(plane, step, (cell, place) => {
    cells.data[cell] = plane.data[place];
  });
  return cells;
}

/** Write into planes what `cellsOfStep` would take out of them. */
export function putStep(plane, step, cells) {
  eachOfStep(plane, step, (cell, place) => {
    plane.data[place] = cells[cell];
  });
}
