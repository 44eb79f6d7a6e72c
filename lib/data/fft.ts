/**
 * Magnitude spectrum of real signals of one power-of-two length `n`.
 *
 * An `n`-point real transform is an `n/2`-point complex one (radix 2, decimation in time; Cooley and Tukey, 1965) of even and odd samples,
 * then one unravelling pass. All in double precision; tables and work space are made once.
 */
export class RealFft {
  /** Number of bins from 0 to the Nyquist frequency: `n / 2 + 1`. */
  readonly bins: number;
  readonly #half: number;
  readonly #reversed: Uint32Array;
  readonly #cosine: Float64Array;
  readonly #sine: Float64Array;
  readonly #real: Float64Array;
  readonly #imaginary: Float64Array;

  /** @param n A power of two, at least 4. */
  constructor(n: number) {
    const half = n / 2;
    this.#half = half;
    this.bins = half + 1;
    const bits = Math.log2(half);
    this.#reversed = Uint32Array.from({ length: half }, (_, i) => reverseBits(i, bits));
    this.#cosine = Float64Array.from({ length: half }, (_, i) => Math.cos((2 * Math.PI * i) / n));
    this.#sine = Float64Array.from({ length: half }, (_, i) => -Math.sin((2 * Math.PI * i) / n));
    this.#real = new Float64Array(half);
    this.#imaginary = new Float64Array(half);
  }

  /** Writes |DFT(signal)| into `out`. A `signal` shorter than `n` is padded with zeros. */
  magnitudes(signal: Float64Array, out: Float64Array): void {
    const half = this.#half;
    for (let i = 0; i < half; i++) {
      const target = this.#reversed[i] as number;
      this.#real[target] = signal[2 * i] ?? 0;
      this.#imaginary[target] = signal[2 * i + 1] ?? 0;
    }
    this.#butterflies();
    this.#unravel(out);
  }

  #butterflies(): void {
    const re = this.#real;
    const im = this.#imaginary;
    const half = this.#half;
    for (let size = 1; size < half; size *= 2) {
      const stride = half / size; // of the table for n = 2 · half
      for (let k = 0; k < size; k++) {
        const c = this.#cosine[k * stride] as number;
        const s = this.#sine[k * stride] as number;
        for (let a = k; a < half; a += 2 * size) {
          const b = a + size;
          const br = re[b] as number;
          const bi = im[b] as number;
          const tr = br * c - bi * s;
          const ti = br * s + bi * c;
          const ar = re[a] as number;
          const ai = im[a] as number;
          re[a] = ar + tr;
          im[a] = ai + ti;
          re[b] = ar - tr;
          im[b] = ai - ti;
        }
      }
    }
  }

  /** X[k] = E[k] + e^(−2πik/n) O[k], with E and O from the transform Z of even + i·odd. */
  #unravel(out: Float64Array): void {
    const re = this.#real;
    const im = this.#imaginary;
    const half = this.#half;
    const dcRe = re[0] as number;
    const dcIm = im[0] as number;
    out[0] = Math.abs(dcRe + dcIm);
    out[half] = Math.abs(dcRe - dcIm);
    for (let k = 1; k < half; k++) {
      const zr = re[k] as number;
      const zi = im[k] as number;
      const mr = re[half - k] as number;
      const mi = im[half - k] as number;
      const er = (zr + mr) / 2;
      const ei = (zi - mi) / 2;
      const or = (zi + mi) / 2;
      const oi = (mr - zr) / 2;
      const c = this.#cosine[k] as number;
      const s = this.#sine[k] as number;
      const xr = er + or * c - oi * s;
      const xi = ei + or * s + oi * c;
      out[k] = Math.sqrt(xr * xr + xi * xi);
    }
  }
}

function reverseBits(value: number, bits: number): number {
  let reversed = 0;
  for (let bit = 0; bit < bits; bit++) reversed |= ((value >> bit) & 1) << (bits - 1 - bit);
  return reversed;
}
