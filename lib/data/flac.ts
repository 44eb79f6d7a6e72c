import { createHash } from 'node:crypto';
import { PcqatError } from '../errors.js';
import { BitReader } from './bit-reader.js';

/** Mono sound. */
export interface FlacAudio {
  /** Hz. */
  readonly sampleRate: number;
  /** Signed samples. */
  readonly samples: Int16Array;
}

const STREAMINFO_BYTES = 34;
const FRAME_SYNC = 0b11111111111110;
const FIXED_PREDICTORS: readonly (readonly number[])[] = [[], [1], [2, -1], [3, -3, 1], [4, -6, 4, -1]];
const MAX_ORDER = 32;
/** A few bytes of FLAC can stand for 65,535 equal samples, so the output is limited, not only the input: 9 hours at 8 kHz. */
const MAX_SAMPLES = 2 ** 28;

/**
 * Decodes a mono FLAC file of 16 bits per sample (RFC 9639) and checks the MD5 sum of the sound that it holds.
 *
 * @param where For messages.
 * @throws PcqatError `ERR_FORMAT` for bytes that are no FLAC, truncated or damaged; `ERR_UNSUPPORTED` for other numbers of channels or bits.
 */
export function decodeFlac(bytes: Uint8Array, where = 'FLAC'): FlacAudio {
  const bits = new BitReader(bytes, where);
  const info = readMetadata(bits, where);
  const chunks: Int16Array[] = [];
  const block = new Float64Array(65536);
  let total = 0;
  while (bits.bytesLeft > 0) {
    const length = readFrame(bits, block, where);
    total += length;
    if (total > MAX_SAMPLES) throw new PcqatError('ERR_UNSUPPORTED', `the sound is longer than ${MAX_SAMPLES} samples`, { where });
    chunks.push(Int16Array.from(block.subarray(0, length)));
  }
  const samples = concatenate(chunks, total);
  if (info.totalSamples !== 0 && info.totalSamples !== total) throw damaged(`${total} samples instead of ${info.totalSamples}`, where);
  const sum = createHash('md5').update(new Uint8Array(samples.buffer)).digest('hex');
  if (info.md5 !== '0'.repeat(32) && info.md5 !== sum) throw damaged('the MD5 sum does not match', where);
  return { sampleRate: info.sampleRate, samples };
}

function readMetadata(bits: BitReader, where: string): { sampleRate: number; totalSamples: number; md5: string } {
  if (bits.bytesLeft < 4 || bits.read(32) !== 0x664c6143) throw damaged("it does not start with 'fLaC'", where);
  let last = bits.read(1) === 1;
  const type = bits.read(7);
  const length = bits.read(24);
  if (type !== 0 || length !== STREAMINFO_BYTES) throw damaged('there is no STREAMINFO', where);
  bits.skip(16 + 16 + 24 + 24);
  const sampleRate = bits.read(20);
  const channels = bits.read(3) + 1;
  const sampleBits = bits.read(5) + 1;
  if (channels !== 1 || sampleBits !== 16) {
    throw new PcqatError('ERR_UNSUPPORTED', `${channels} channels of ${sampleBits} bits`, {
      where,
      remedy: 'Only mono FLAC of 16 bits is read.',
    });
  }
  const totalSamples = bits.read(4) * 2 ** 32 + bits.read(32);
  const md5 = Array.from({ length: 16 }, () => bits.read(8).toString(16).padStart(2, '0')).join('');
  while (!last) {
    last = bits.read(1) === 1;
    bits.skip(7);
    bits.skip(bits.read(24) * 8);
  }
  return { sampleRate, totalSamples, md5 };
}

/** Decodes a frame into `block`; returns its number of samples. The MD5 sum of the whole stands in for the frames' CRCs. */
function readFrame(bits: BitReader, block: Float64Array, where: string): number {
  if (bits.read(14) !== FRAME_SYNC) throw damaged('a frame does not start where it must', where);
  bits.skip(2);
  const sizeCode = bits.read(4);
  const rateCode = bits.read(4);
  const channelCode = bits.read(4);
  const sampleSizeCode = bits.read(3);
  bits.skip(1);
  if (channelCode !== 0 || (sampleSizeCode !== 0 && sampleSizeCode !== 4)) throw damaged('a frame disagrees with STREAMINFO', where);
  skipCodedNumber(bits, where);
  const length = blockLength(bits, sizeCode, where);
  bits.skip(rateCode === 12 ? 8 : rateCode === 13 || rateCode === 14 ? 16 : 0);
  bits.skip(8);
  readSubframe(bits, block, length, where);
  bits.alignToByte();
  bits.skip(16);
  return length;
}

function skipCodedNumber(bits: BitReader, where: string): void {
  const leading = Math.clz32(~bits.read(8) & 0xff) - 24; // ones, as in UTF-8
  if (leading === 1 || leading > 7) throw damaged('a frame number is not coded as it must be', where);
  bits.skip(leading === 0 ? 0 : 8 * (leading - 1));
}

function blockLength(bits: BitReader, code: number, where: string): number {
  if (code === 0) throw damaged('a reserved block size', where);
  if (code === 1) return 192;
  if (code <= 5) return 144 << code;
  if (code === 6) return bits.read(8) + 1;
  if (code === 7) return bits.read(16) + 1;
  return 1 << code;
}

function readSubframe(bits: BitReader, block: Float64Array, length: number, where: string): void {
  bits.skip(1);
  const type = bits.read(6);
  const wasted = bits.read(1) === 1 ? bits.readUnary() + 1 : 0;
  const width = 16 - wasted;
  if (width < 1) throw damaged('a subframe has no bits', where);
  if (type === 0) block.fill(bits.readSigned(width), 0, length);
  else if (type === 1) for (let i = 0; i < length; i++) block[i] = bits.readSigned(width);
  else if (type >= 8 && type <= 12) readFixed(bits, block, length, width, type - 8, where);
  else if (type >= 32) readLinearPrediction(bits, block, length, width, type - 31, where);
  else throw damaged('a reserved subframe type', where);
  if (wasted > 0) for (let i = 0; i < length; i++) block[i] = (block[i] as number) * 2 ** wasted;
}

function readFixed(bits: BitReader, block: Float64Array, length: number, width: number, order: number, where: string): void {
  readWarmUp(bits, block, length, width, order, where);
  readResidual(bits, block, length, order, where);
  predict(block, length, Float64Array.from(FIXED_PREDICTORS[order] as readonly number[]), 0);
}

function readLinearPrediction(bits: BitReader, block: Float64Array, length: number, width: number, order: number, where: string): void {
  readWarmUp(bits, block, length, width, order, where);
  const precision = bits.read(4) + 1;
  const shift = bits.readSigned(5);
  if (precision === 16 || shift < 0) throw damaged('reserved predictor settings', where);
  const coefficients = Float64Array.from({ length: order }, () => bits.readSigned(precision));
  readResidual(bits, block, length, order, where);
  predict(block, length, coefficients, shift);
}

function readWarmUp(bits: BitReader, block: Float64Array, length: number, width: number, order: number, where: string): void {
  if (order > length || order > MAX_ORDER) throw damaged('a predictor is longer than its block', where);
  for (let i = 0; i < order; i++) block[i] = bits.readSigned(width);
}

function readResidual(bits: BitReader, block: Float64Array, length: number, order: number, where: string): void {
  const method = bits.read(2);
  if (method > 1) throw damaged('a reserved residual coding', where);
  const parameterBits = 4 + method;
  const partitionOrder = bits.read(4);
  const partitionLength = length >> partitionOrder;
  if (partitionLength << partitionOrder !== length || partitionLength < order) throw damaged('a residual does not fit its block', where);
  for (let end = partitionLength, i = order; end <= length; end += partitionLength) {
    const parameter = bits.read(parameterBits);
    if (parameter === 2 ** parameterBits - 1) {
      const width = bits.read(5);
      for (; i < end; i++) block[i] = width === 0 ? 0 : bits.readSigned(width);
    } else {
      for (; i < end; i++) block[i] = bits.readRice(parameter);
    }
    if (partitionLength === 0) break;
  }
}

/** Adds the prediction from the preceding samples to each residual. Exact: sums stay far below 2⁵³. */
function predict(block: Float64Array, length: number, coefficients: Float64Array, shift: number): void {
  const order = coefficients.length;
  const scale = 2 ** -shift;
  for (let i = order; i < length; i++) {
    let sum = 0;
    for (let j = 0; j < order; j++) sum += (coefficients[j] as number) * (block[i - 1 - j] as number);
    block[i] = (block[i] as number) + Math.floor(sum * scale);
  }
}

function concatenate(chunks: readonly Int16Array[], total: number): Int16Array {
  const samples = new Int16Array(total);
  let offset = 0;
  for (const chunk of chunks) {
    samples.set(chunk, offset);
    offset += chunk.length;
  }
  return samples;
}

function damaged(what: string, where: string): PcqatError {
  return new PcqatError('ERR_FORMAT', `the FLAC data is damaged: ${what}`, { where, remedy: 'Install or copy the file again.' });
}
