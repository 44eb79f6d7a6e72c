/** Number of different values; 0 and −0 are one. A set of boxed numbers would take seconds for millions of weights. */
export function countDistinct(values: Float32Array): number {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const zeros = values.some((value) => value === 0) ? 1 : 0;
  let found = 0;
  let table = new Int32Array(1024); // open addressing: 0 is a free slot
  for (const value of bits) {
    if ((value & 0x7fffffff) === 0 || !insert(table, value)) continue;
    if (++found * 2 > table.length) table = grown(table);
  }
  return found + zeros;
}

/** False if it was there. */
function insert(table: Int32Array, value: number): boolean {
  const last = table.length - 1;
  let slot = (Math.imul(value, 0x9e3779b1) >>> 7) & last;
  while (table[slot] !== 0) {
    if (table[slot] === value) return false;
    slot = (slot + 1) & last;
  }
  table[slot] = value;
  return true;
}

function grown(table: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(table.length * 4);
  for (const value of table) if (value !== 0) insert(larger, value);
  return larger;
}
