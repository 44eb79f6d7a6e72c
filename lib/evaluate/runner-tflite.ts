import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { PcqatError } from '../errors.js';
import { readBytes } from '../formats/read-bytes.js';
import { readTflite } from '../formats/tflite/read.js';
import type { TfliteTensor } from '../formats/tflite/types.js';
import { elementCount } from '../graph/shapes.js';
import { findForeignAddon, FOREIGN_PACKAGE, requireForeignAddon } from './foreign.js';
import { dequantize, quantize } from './int8.js';
import { checkedRowCount, portions } from './rows.js';
import type { OpenRunnerOptions, Runner } from './runner.js';
import { requireSingleBatch } from './single-batch.js';

const worker = fileURLToPath(new URL('./tflite-worker.js', import.meta.url));
/** Rows at a time. */
const ROWS = 64;

/** TFLite in a process of its own, so that a file that crashes it gives an error. */
class TfliteProcess {
  readonly #child;
  readonly #stdin: Writable;
  #received = Buffer.alloc(0);
  #log = '';
  #failure: PcqatError | undefined;
  #waiting: { resolve: (frame: Buffer) => void; reject: (error: PcqatError) => void } | undefined;

  constructor(addon: string, threads: number, where: string) {
    this.#child = spawn(process.execPath, [worker, addon, String(threads)], { stdio: ['pipe', 'ignore', 'pipe', 'pipe'] });
    const [stdin, , stderr, result] = this.#child.stdio as unknown as [Writable, null, Readable, Readable];
    this.#stdin = stdin;
    stdin.on('error', () => undefined); // a process that ended early; its exit code says so
    stderr.on('data', (chunk: Buffer) => (this.#log = (this.#log + chunk.toString('utf8')).slice(-8192)));
    result.on('data', (chunk: Buffer) => this.#receive(chunk));
    const ended = (status: string): void => {
      // The first line that is an error; TFLite also says what it does.
      const reason = this.#log.split('\n').find((line) => /error/i.test(line)) ?? `it ended with ${status}`;
      this.#failure ??= new PcqatError('ERR_UNSUPPORTED', `TFLite could not run the file: ${reason.trim().slice(0, 500)}`, { where });
      this.#waiting?.reject(this.#failure);
      this.#waiting = undefined;
    };
    this.#child.on('error', ({ message }) => ended(message));
    this.#child.on('close', (code, signal) => ended(String(signal ?? code)));
  }

  /** Sends a frame and waits for the answer. */
  async call(bytes: Uint8Array): Promise<Buffer> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#waiting !== undefined) throw new PcqatError('ERR_SESSION_BUSY', 'the model is running already', { where: 'tflite' });
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.byteLength);
    this.#stdin.write(length);
    this.#stdin.write(bytes);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  end(): void {
    this.#failure ??= new PcqatError('ERR_DISPOSED', 'the runner was disposed', { where: 'tflite' });
    this.#child.kill('SIGKILL');
  }

  #receive(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    if (this.#received.length < 4) return;
    const end = 4 + this.#received.readUInt32LE(0);
    if (this.#received.length < end) return;
    const frame = this.#received.subarray(4, end);
    this.#received = this.#received.subarray(end);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve(frame);
  }
}

const bytesOf = (values: Int8Array | Uint8Array | Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Bytes of an output tensor as its values; they may start anywhere, so they are copied. */
function valuesOf(bytes: Buffer, { dtype }: TfliteTensor): Int8Array | Uint8Array | Float32Array {
  const copy = Uint8Array.from(bytes);
  if (dtype === 'float32') return new Float32Array(copy.buffer);
  return dtype === 'int8' ? new Int8Array(copy.buffer) : copy;
}

/**
 * Opens a .tflite file in tfjs-tflite-node, the TFLite C library for Node.
 *
 * @throws PcqatError `ERR_MISSING_PEER` where it is not installed, `ERR_UNSUPPORTED` where it cannot run the file
 */
export async function openTflite(file: string, { threads = 1 }: OpenRunnerOptions): Promise<Runner> {
  const { addon, version } = requireForeignAddon(findForeignAddon(), "the runner 'tflite'");
  const bytes = await readBytes(file);
  const [input, output] = requireSingleBatch(readTflite(bytes, file), file);
  const odd = [input, output].find(({ dtype }) => !['int8', 'uint8', 'float32'].includes(dtype));
  if (odd !== undefined) throw new PcqatError('ERR_UNSUPPORTED', `tensor '${odd.name}' is ${odd.dtype}`, { where: file });
  const [inputShape, outputShape] = [input.shape.slice(1), output.shape.slice(1)];
  const session = new TfliteProcess(addon, threads, file);
  try {
    await session.call(bytes);
  } catch (error) {
    session.end();
    throw error;
  }
  const [step] = output.scale;
  return {
    name: `${FOREIGN_PACKAGE} ${version}`,
    inputShape,
    outputShape,
    ...(output.dtype === 'float32' || step === undefined ? {} : { outputScale: step }),
    run: async (x, { signal } = {}) => {
      const result = new Float32Array(checkedRowCount(x, inputShape) * elementCount(outputShape));
      let at = 0;
      for (const part of portions(x, elementCount(inputShape), ROWS)) {
        signal?.throwIfAborted();
        const values = dequantize(valuesOf(await session.call(bytesOf(quantize(part, input))), output), output);
        result.set(values, at);
        at += values.length;
      }
      return result;
    },
    dispose: () => session.end(),
  };
}
