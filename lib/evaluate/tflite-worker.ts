/**
 * The process in which the runner `tflite` keeps a model open: `node tflite-worker.js <addon> <threads>`. Reads frames (u32 length, bytes) from
 * stdin: first the model, then rows of its input as they lie in memory. Writes a frame of output rows for each of them to file
 * descriptor 3, since native libraries print on stdout; the first frame, empty, says that the model was loaded.
 */
import { readSync, writeSync } from 'node:fs';
import { loadTfliteAddon } from './tflite-addon.js';

const STDIN = 0;
const RESULT = 3;

/** Fills the whole buffer; false at the end of the stream. */
function readFully(buffer: Uint8Array): boolean {
  for (let at = 0; at < buffer.length;) {
    const count = readSync(STDIN, buffer, at, buffer.length - at, null);
    if (count === 0) return false;
    at += count;
  }
  return true;
}

function readFrame(): Uint8Array | undefined {
  const length = Buffer.alloc(4);
  if (!readFully(length)) return undefined;
  const frame = new Uint8Array(length.readUInt32LE(0));
  return readFully(frame) ? frame : undefined;
}

function writeFrame(bytes: Uint8Array): void {
  const frame = Buffer.alloc(4 + bytes.length);
  frame.writeUInt32LE(bytes.length);
  frame.set(bytes, 4);
  for (let at = 0; at < frame.length;) at += writeSync(RESULT, frame, at);
}

function bytesOf(tensor: { data(): unknown } | undefined, what: string): Uint8Array {
  const values = tensor?.data();
  if (!ArrayBuffer.isView(values) || values.byteLength === 0) throw new Error(`the model has no ${what} tensor`);
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

const { Interpreter } = loadTfliteAddon(process.argv[2] ?? '');
const model = readFrame();
if (model === undefined) throw new Error('there is no model');
const interpreter = new Interpreter(model.buffer as ArrayBuffer, { threads: Number(process.argv[3] ?? 1) });
const input = bytesOf(interpreter.getInputs()[0], 'input');
const outputSize = bytesOf(interpreter.getOutputs()[0], 'output').length;
writeFrame(new Uint8Array());
for (let rows = readFrame(); rows !== undefined; rows = readFrame()) {
  if (rows.length % input.length !== 0) throw new Error(`${rows.length} bytes are no whole rows of ${input.length}`);
  const count = rows.length / input.length;
  const result = new Uint8Array(count * outputSize);
  for (let row = 0; row < count; row++) {
    input.set(rows.subarray(row * input.length, (row + 1) * input.length));
    if (!interpreter.infer()) throw new Error('inference failed');
    result.set(bytesOf(interpreter.getOutputs()[0], 'output'), row * outputSize);
  }
  writeFrame(result);
}
