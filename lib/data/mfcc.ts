import { PcqatError } from '../errors.js';
import { RealFft } from './fft.js';

/** How mel frequency cepstral coefficients are computed. */
export interface MfccOptions {
  /** Hz. */
  readonly sampleRate: number;
  /** Samples in a frame. */
  readonly frameLength: number;
  /** Samples from one frame to the next. */
  readonly frameStep: number;
  /** Points of the Fourier transform: a power of two, at least `frameLength`. */
  readonly fftLength: number;
  /** Triangular mel bands. */
  readonly bands: number;
  /** Lower edge of the first and upper edge of the last band, in Hz. */
  readonly lowHz: number;
  readonly highHz: number;
  /** Fourier bins below this one are left out of the bands: 1 in `tf.signal`, 2 in TensorFlow's audio operators (for 16 kHz). */
  readonly firstBin: number;
  /** What keeps the logarithm finite: `ln(x + value)` or `ln(max(x, value))`. */
  readonly floor: { readonly kind: 'add' | 'max'; readonly value: number };
  /** Coefficients kept of each frame, from the 0th. */
  readonly coefficients: number;
}

/** The features of MLPerf Tiny's keyword spotting (16 kHz, 30 ms frames every 20 ms): 49×10 for a second of sound, divided by its peak. */
export const mlperfMfcc: MfccOptions = {
  sampleRate: 16000,
  frameLength: 480,
  frameStep: 320,
  fftLength: 512,
  bands: 40,
  lowHz: 20,
  highHz: 4000,
  firstBin: 1,
  floor: { kind: 'add', value: 1e-6 },
  coefficients: 10,
};

/** The features of Arm's keyword spotting networks and TensorFlow's speech commands (16 kHz, 40 ms frames every 20 ms): 49×10 for a second. */
export const armMfcc: MfccOptions = {
  sampleRate: 16000,
  frameLength: 640,
  frameStep: 320,
  fftLength: 1024,
  bands: 40,
  lowHz: 20,
  highHz: 4000,
  firstBin: 2,
  floor: { kind: 'max', value: 1e-12 },
  coefficients: 10,
};

/** Coefficients of all frames, row-major: `frames × coefficients`. */
export type MfccFunction = (samples: Float32Array) => Float32Array;

/**
 * Prepares mel frequency cepstral coefficients (Davis and Mermelstein, 1980) as TensorFlow computes them: periodic Hann window,
 * magnitude spectrum, triangular bands on the scale 1127 ln(1 + f/700), natural logarithm, DCT-II times √(2/bands).
 *
 * The returned function takes mono samples, usually in [−1, 1], and returns `frames × coefficients` values, with
 * `frames = 1 + ⌊(samples − frameLength) / frameStep⌋`. It may be called any number of times; tables are made once.
 *
 * @throws PcqatError `ERR_OPTION` for options that are out of range. The function throws `ERR_SHAPE` for less than a frame of samples and
 *   `ERR_NON_FINITE` for NaN or infinite ones.
 *
 * @example
 * ```ts
 * import { armMfcc, mfcc } from 'pcqat';
 * const features = mfcc(armMfcc);
 * const second = Float32Array.from({ length: 16000 }, (_, t) => Math.sin((2 * Math.PI * 440 * t) / 16000));
 * console.log(features(second).length); // 490
 * ```
 */
export function mfcc(options: MfccOptions): MfccFunction {
  checkOptions(options);
  const { frameLength, frameStep, coefficients, bands, floor } = options;
  const fft = new RealFft(options.fftLength);
  const window = Float64Array.from({ length: frameLength }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / frameLength));
  const filters = melFilters(options);
  const dct = dctTable(coefficients, bands);
  const frame = new Float64Array(frameLength);
  const spectrum = new Float64Array(fft.bins);
  const logMel = new Float64Array(bands);

  const cepstrum = (silent: boolean, out: Float32Array): void => {
    if (!silent) fft.magnitudes(frame, spectrum);
    for (let band = 0; band < bands; band++) {
      const energy = silent ? 0 : (filters[band] as MelFilter).apply(spectrum);
      logMel[band] = Math.log(floor.kind === 'add' ? energy + floor.value : Math.max(energy, floor.value));
    }
    for (let k = 0; k < coefficients; k++) {
      let sum = 0;
      for (let band = 0; band < bands; band++) sum += (dct[k * bands + band] as number) * (logMel[band] as number);
      out[k] = sum;
    }
  };
  const silence = new Float32Array(coefficients);
  cepstrum(true, silence);

  return (samples) => {
    requireSamples(samples, frameLength);
    const frames = 1 + Math.floor((samples.length - frameLength) / frameStep);
    const out = new Float32Array(frames * coefficients);
    for (let row = 0; row < frames; row++) {
      let silent = true;
      for (let i = 0; i < frameLength; i++) {
        const sample = samples[row * frameStep + i] as number;
        if (sample !== 0) silent = false;
        frame[i] = sample * (window[i] as number);
      }
      // Padded recordings are half zeros.
      const target = out.subarray(row * coefficients, (row + 1) * coefficients);
      if (silent) target.set(silence);
      else cepstrum(false, target);
    }
    return out;
  };
}

/** One triangular band: weights of consecutive Fourier bins. */
class MelFilter {
  readonly #first: number;
  readonly #weights: Float64Array;

  constructor(first: number, weights: readonly number[]) {
    this.#first = first;
    this.#weights = Float64Array.from(weights);
  }

  apply(spectrum: Float64Array): number {
    let sum = 0;
    for (let i = 0; i < this.#weights.length; i++) sum += (spectrum[this.#first + i] as number) * (this.#weights[i] as number);
    return sum;
  }
}

function mel(hz: number): number {
  return 1127 * Math.log(1 + hz / 700);
}

function melFilters(options: MfccOptions): MelFilter[] {
  const { sampleRate, fftLength, bands, lowHz, highHz, firstBin } = options;
  const low = mel(lowHz);
  const spacing = (mel(highHz) - low) / (bands + 1);
  return Array.from({ length: bands }, (_, band) => {
    const centre = low + (band + 1) * spacing;
    const weights: number[] = [];
    let first = 0;
    for (let bin = firstBin; bin <= fftLength / 2; bin++) {
      const weight = 1 - Math.abs(mel((bin * sampleRate) / fftLength) - centre) / spacing;
      if (weight <= 0) continue;
      if (weights.length === 0) first = bin;
      weights.push(weight);
    }
    return new MelFilter(first, weights);
  });
}

function dctTable(coefficients: number, bands: number): Float64Array {
  const scale = Math.sqrt(2 / bands);
  return Float64Array.from({ length: coefficients * bands }, (_, i) => {
    const k = Math.floor(i / bands);
    return scale * Math.cos((Math.PI * k * ((i % bands) + 0.5)) / bands);
  });
}

function requireSamples(samples: Float32Array, frameLength: number): void {
  if (samples.length < frameLength) {
    throw new PcqatError('ERR_SHAPE', `${samples.length} samples are less than one frame of ${frameLength}`, {
      where: 'mfcc',
      remedy: 'Pad the sound.',
    });
  }
  const bad = samples.findIndex((sample) => !Number.isFinite(sample));
  if (bad >= 0) throw new PcqatError('ERR_NON_FINITE', `sample ${bad} is ${samples[bad]}`, { where: 'mfcc' });
}

function checkOptions(options: MfccOptions): void {
  const { sampleRate, frameLength, frameStep, fftLength, bands, lowHz, highHz, firstBin, floor, coefficients } = options;
  const require = (good: boolean, message: string): void => {
    if (!good) throw new PcqatError('ERR_OPTION', message, { where: 'mfcc' });
  };
  for (const [name, value] of Object.entries({ sampleRate, frameLength, frameStep, fftLength, bands, coefficients })) {
    require(Number.isSafeInteger(value) &&
      value >= 1 &&
      value <= 2 ** 20, `${name} is ${value} but must be a whole number from 1 to ${2 ** 20}`);
  }
  require(fftLength >= 4 &&
    fftLength >= frameLength &&
    Number.isInteger(Math.log2(fftLength)), `fftLength is ${fftLength} but must be a power of two that holds a frame of ${frameLength}`);
  require(lowHz >= 0 &&
    lowHz < highHz &&
    highHz <= sampleRate / 2, `the bands from ${lowHz} to ${highHz} Hz must lie between 0 and half the sample rate, ${sampleRate / 2} Hz`);
  require(Number.isSafeInteger(firstBin) && firstBin >= 0, `firstBin is ${firstBin} but must be a whole number from 0`);
  require(coefficients <= bands, `${coefficients} coefficients cannot be taken from ${bands} bands`);
  require((floor.kind === 'add' || floor.kind === 'max') &&
    floor.value > 0 &&
    Number.isFinite(floor.value), `floor must be a positive number to add or to use as a minimum`);
}
