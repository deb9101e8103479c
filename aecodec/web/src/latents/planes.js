// Planes of numbers: {data, channels, height, width}, a typed array in C order.

/** Planes of zeros. Kind: of typed array. */
export function planes(Kind, channels, height, width) {
  return { data: new Kind(channels * height * width), channels, height, width };
}

/** The rows top ... bottom - 1 and columns left ... right - 1 of planes. */
export function cut(plane, top, left, bottom, right) {
  const part = planes(plane.data.constructor, plane.channels, bottom - top, right - left);
  let place = 0;
  for (let channel = 0; channel < plane.channels; channel++) {
    for (let row = top; row < bottom; row++) {
      const start = (channel * plane.height + row) * plane.width;
      part.data.set(plane.data.subarray(start + left, start + right), place);
      place += part.width;
    }
  }
  return part;
}

/** Write planes into larger ones of as many channels, at a row and column. */
export function paste(plane, part, top, left) {
  let place = 0;
  for (let channel = 0; channel < plane.channels; channel++) {
    for (let row = top; row < top + part.height; row++) {
      plane.data.set(part.data.subarray(place, place + part.width), (channel * plane.height + row) * plane.width + left);
      place += part.width;
    }
  }
}
