/** Finalizer of MurmurHash3 (32 bit): every input bit affects every output bit. */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/**
 * Deterministic generator: xoshiro128** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018).
 * Its 128 bits of state are hashed from a seed and a stream name, so that each parameter or epoch has its own sequence,
 * independent of all others. The same seed gives the same numbers on every machine.
 */
export class Random {
  readonly #state = new Uint32Array(4);

  /** @param seed Any safe integer. @param stream Name of an independent sequence. */
  constructor(seed: number, stream = '') {
    let hash = mix(mix(seed ^ 0x9e3779b9) ^ Math.floor(seed / 2 ** 32));
    for (let i = 0; i < stream.length; i++) hash = mix(Math.imul(hash ^ stream.charCodeAt(i), 0x9e3779b1));
    for (let i = 0; i < 4; i++) {
      hash = (hash + 0x9e3779b9) | 0;
      this.#state[i] = mix(hash);
    }
    // The all-zero state is the one that never leaves itself.
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1;
  }

  /** Uniform in [0, 2³²). */
  uint32(): number {
    const s = this.#state as unknown as [number, number, number, number];
    const result = Math.imul(rotateLeft(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotateLeft(s[3], 11);
    return result;
  }

  /** Uniform in [0, 1), a multiple of 2⁻²⁴, so exact in f32. */
  uniform(): number {
    return (this.uint32() >>> 8) * 2 ** -24;
  }

  /** Uniform integer in [0, limit), without modulo bias; `limit` at most 2³². */
  integer(limit: number): number {
    const usable = 2 ** 32 - (2 ** 32 % limit);
    let value = this.uint32();
    while (value >= usable) value = this.uint32();
    return value % limit;
  }
}
