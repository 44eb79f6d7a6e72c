import { PcqatError } from '../errors.js';

/** Sound of a WAV file. */
export interface Wav {
  /** Hz. */
  readonly sampleRate: number;
  readonly channels: number;
  /** Samples of a channel. */
  readonly frames: number;
  /** Interleaved by channel, `frames × channels` values; integer formats are scaled to [−1, 1). */
  readonly samples: Float32Array;
}

const PCM = 1;
const IEEE_FLOAT = 3;
const EXTENSIBLE = 0xfffe;

interface Format {
  readonly tag: number;
  readonly channels: number;
  readonly sampleRate: number;
  readonly bits: number;
}

type ReadSample = (view: DataView, offset: number) => number;

const READERS: Readonly<Record<string, ReadSample>> = {
  [`${PCM}/8`]: (view, offset) => (view.getUint8(offset) - 128) / 2 ** 7,
  [`${PCM}/16`]: (view, offset) => view.getInt16(offset, true) / 2 ** 15,
  [`${PCM}/24`]: (view, offset) => (view.getUint16(offset, true) + view.getInt8(offset + 2) * 2 ** 16) / 2 ** 23,
  [`${PCM}/32`]: (view, offset) => view.getInt32(offset, true) / 2 ** 31,
  [`${IEEE_FLOAT}/32`]: (view, offset) => view.getFloat32(offset, true),
  [`${IEEE_FLOAT}/64`]: (view, offset) => view.getFloat64(offset, true),
};

/**
 * Reads a RIFF WAVE file: PCM of 8, 16, 24 or 32 bits, or IEEE float of 32 or 64 bits, any number of channels, also in the extensible format.
 *
 * @param bytes The whole file.
 * @param where For messages, e.g. the path.
 * @throws PcqatError `ERR_FORMAT` for bytes that are no WAV, or truncated; `ERR_UNSUPPORTED` for other encodings; `ERR_EMPTY_DATA` for a
 *   file without samples; `ERR_NON_FINITE` for NaN or infinite samples.
 *
 * @example
 * ```ts
 * import { readWav } from 'pcqat';
 * const header = Buffer.from('RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x04\0\0\0', 'latin1');
 * const { sampleRate, samples } = readWav(Buffer.concat([header, Buffer.from(Int16Array.of(16384, -16384).buffer)]));
 * console.log(sampleRate, samples); // 8000 Float32Array [ 0.5, -0.5 ]
 * ```
 */
export function readWav(bytes: Uint8Array, where = 'WAV'): Wav {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || tag(view, 0) !== 'RIFF' || tag(view, 8) !== 'WAVE') throw damaged('it does not start with RIFF … WAVE', where);
  let format: Format | undefined;
  for (let offset = 12; offset + 8 <= bytes.length;) {
    const id = tag(view, offset);
    const size = view.getUint32(offset + 4, true);
    const start = offset + 8;
    if (size > bytes.length - start)
      throw damaged(`its part '${id}' is cut off: ${size} bytes stated, ${bytes.length - start} there`, where);
    if (id === 'fmt ') format = readFormat(view, start, size, where);
    if (id === 'data') {
      if (format === undefined) throw damaged("'data' comes before 'fmt '", where);
      return readSamples(view, start, size, format, where);
    }
    offset = start + size + (size % 2);
  }
  throw damaged("it has no 'data'", where);
}

/** The mean of all channels. */
export function toMono({ channels, frames, samples }: Wav): Float32Array {
  if (channels === 1) return samples;
  return Float32Array.from({ length: frames }, (_, frame) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += samples[frame * channels + channel] as number;
    return sum / channels;
  });
}

function readFormat(view: DataView, start: number, size: number, where: string): Format {
  if (size < 16) throw damaged("'fmt ' is too short", where);
  let tag = view.getUint16(start, true);
  if (tag === EXTENSIBLE) {
    if (size < 26) throw damaged("the extensible 'fmt ' is too short", where);
    tag = view.getUint16(start + 24, true);
  }
  const channels = view.getUint16(start + 2, true);
  const sampleRate = view.getUint32(start + 4, true);
  const bits = view.getUint16(start + 14, true);
  if (channels === 0 || sampleRate === 0) throw damaged(`it states ${channels} channels at ${sampleRate} Hz`, where);
  return { tag, channels, sampleRate, bits };
}

function readSamples(view: DataView, start: number, size: number, format: Format, where: string): Wav {
  const { tag, channels, sampleRate, bits } = format;
  const read = READERS[`${tag}/${bits}`];
  if (read === undefined) {
    throw new PcqatError('ERR_UNSUPPORTED', `WAV encoding ${tag} with ${bits} bits`, { where, remedy: 'Convert it to 16-bit PCM.' });
  }
  const width = bits / 8;
  const frames = Math.floor(size / (width * channels));
  if (frames === 0) throw new PcqatError('ERR_EMPTY_DATA', 'the WAV has no samples', { where });
  const samples = new Float32Array(frames * channels);
  for (let i = 0; i < samples.length; i++) {
    const sample = read(view, start + i * width);
    if (!Number.isFinite(sample)) throw new PcqatError('ERR_NON_FINITE', `sample ${i} is ${sample}`, { where });
    samples[i] = sample;
  }
  return { sampleRate, channels, frames, samples };
}

function tag(view: DataView, offset: number): string {
  return String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(offset + i)));
}

function damaged(what: string, where: string): PcqatError {
  return new PcqatError('ERR_FORMAT', `the WAV data is damaged: ${what}`, { where });
}
