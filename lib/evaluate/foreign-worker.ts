/**
 * The process in which a foreign runtime runs: `node foreign-worker.js <addon>`. Reads from stdin the length of the model (u32), the
 * model, and rows of int8 input; writes rows of int8 output to file descriptor 3, since native libraries print on stdout.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { loadTfliteAddon, type TfliteInterpreter } from './tflite-addon.js';

const STDIN = 0;
const RESULT = 3;

function run(interpreter: TfliteInterpreter, input: Int8Array): Int8Array {
  const [from, to] = [interpreter.getInputs()[0]?.data(), interpreter.getOutputs()[0]?.data()];
  if (!(from instanceof Int8Array) || !(to instanceof Int8Array) || from.length === 0) throw new Error('input and output are not int8');
  if (input.length % from.length !== 0) throw new Error(`${input.length} values are no whole rows of ${from.length}`);
  const rows = input.length / from.length;
  const output = new Int8Array(rows * to.length);
  for (let row = 0; row < rows; row++) {
    from.set(input.subarray(row * from.length, (row + 1) * from.length));
    if (!interpreter.infer()) throw new Error('inference failed');
    output.set(to, row * to.length);
  }
  return output;
}

const { Interpreter } = loadTfliteAddon(process.argv[2] ?? '');
const message = readFileSync(STDIN);
const end = 4 + message.readUInt32LE(0);
const rows = message.subarray(end);
const interpreter = new Interpreter(new Uint8Array(message.subarray(4, end)).buffer, { threads: 1 });
writeFileSync(RESULT, run(interpreter, new Int8Array(rows.buffer, rows.byteOffset, rows.length)));
