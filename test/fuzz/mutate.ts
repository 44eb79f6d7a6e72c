import { concatenated } from '#lib/evaluate/rows.js';
import { randomNumbers } from '../support/random.js';

/** Integers at which lengths, offsets and counts break: signed and unsigned limits of 8, 16 and 32 bits. */
const EXTREMES = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

type Random = () => number;
const below = (random: Random, n: number): number => Math.floor(random() * n);

/**
 * Damaged copies of a file: one to four changes each out of flipped bits, random bytes, integers set to an extreme or moved by a little (8,
 * 16 and 32 bits, either byte order), pieces copied over others, pieces removed, repeated or zeroed, and truncation.
 *
 * The same arguments give the same mutations.
 *
 * @param seedBytes - a valid file; not changed
 * @param count - how many mutations
 */
export function* mutations(seedBytes: Uint8Array, count: number, seed: number): Iterable<Uint8Array> {
  const random = randomNumbers(seed);
  for (let i = 0; i < count; i++) {
    let bytes: Uint8Array = Uint8Array.from(seedBytes);
    for (let changes = 1 + below(random, 4); changes > 0 && bytes.length > 0; changes--) bytes = mutate(bytes, random);
    yield bytes;
  }
}

/** Number of mutations to run: `FUZZ` from the environment, else 500. */
export function mutationCount(): number {
  return Number(process.env['FUZZ'] ?? 500);
}

/** May change `bytes`. */
function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  const at = below(random, bytes.length);
  switch (below(random, 9)) {
    case 0:
      bytes[at]! ^= 1 << below(random, 8);
      return bytes;
    case 1:
      bytes[at] = below(random, 256);
      return bytes;
    case 2:
      return writeInteger(bytes, random, () => EXTREMES[below(random, EXTREMES.length)]!);
    case 3:
      return writeInteger(bytes, random, (old) => old + below(random, 9) - 4);
    case 4: {
      const piece = pieceAt(bytes, at, random).slice();
      bytes.set(piece, below(random, bytes.length - piece.length + 1));
      return bytes;
    }
    case 5: // removed
      return concatenated([bytes.subarray(0, at), bytes.subarray(at + pieceAt(bytes, at, random).length)], Uint8Array);
    case 6: // repeated
      return concatenated([bytes.subarray(0, at), pieceAt(bytes, at, random), bytes.subarray(at)], Uint8Array);
    case 7:
      pieceAt(bytes, at, random).fill(0);
      return bytes;
    default:
      return random() < 0.3 ? bytes.slice(0, at) : bytes;
  }
}

function writeInteger(bytes: Uint8Array, random: Random, change: (old: number) => number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const width = ([1, 2, 4] as const)[below(random, 3)]!;
  if (bytes.length < width) return bytes;
  let at = below(random, bytes.length - width + 1);
  if (random() < 0.5) at -= at % width; // many formats align their integers
  const littleEndian = random() < 0.8;
  if (width === 1) view.setUint8(at, change(view.getUint8(at)));
  else if (width === 2) view.setUint16(at, change(view.getUint16(at, littleEndian)), littleEndian);
  else view.setUint32(at, change(view.getUint32(at, littleEndian)), littleEndian);
  return bytes;
}

function pieceAt(bytes: Uint8Array, at: number, random: Random): Uint8Array {
  return bytes.subarray(at, at + 1 + below(random, 64));
}
