import path from 'node:path';
import { PcqatError } from '../../errors.js';
import type { Shape } from '../../graph/types.js';
import { ModelAssembler } from '../import/assemble.js';
import { attempt, Refusal } from '../import/attempt.js';
import { ReadBudget } from '../import/budget.js';
import { readBytes } from '../read-bytes.js';
import type { Assembled, ImportOptions } from '../import/types.js';
import { TfliteContext } from './import-context.js';
import { isQuantized, SHAPE_OPERATORS, TRANSLATIONS } from './import-operators.js';
import { readTflite } from './read.js';
import type { TfliteModel, TfliteOperator, TfliteTensor } from './types.js';

/** Integer weights become four times as large. */
const BUDGET_PER_BYTE = 5;

/** Reads a float, float16 or (with `dequantize`) quantized .tflite file as a graph. */
export async function assembleTflite(file: string, options: ImportOptions): Promise<Assembled> {
  const bytes = await readBytes(file);
  const model = readTflite(bytes, file);
  const input = endpoint(model, 'input', options.input, file);
  const output = endpoint(model, 'output', options.output, file);
  const assembler = new ModelAssembler(path.parse(file).name, 'tflite', file);
  const context = new TfliteContext(assembler, model, new ReadBudget(file, bytes.length, BUDGET_PER_BYTE));
  const tensor = context.tensor(input);
  const name = tensor.name.split(';', 1)[0] ?? '';
  context.values.set(input, assembler.add({ op: 'input', name, inputs: [], shape: inputShapeOf(tensor, options, file) }));
  const operators = neededOperators(model, input, output);
  if (options.dequantize !== true) refuseQuantized(context, operators);
  for (const operator of operators) translate(context, operator);
  const value = context.values.get(output);
  if (value === undefined && assembler.complete) {
    throw new PcqatError('ERR_FORMAT', 'its output does not depend on its input', { where: file, remedy: 'Check `input` and `output`.' });
  }
  return { assembler, output: value ?? context.values.get(input) ?? '', weightScales: context.weightScales };
}

function translate(context: TfliteContext, operator: TfliteOperator): void {
  if (operator.op === 'DEQUANTIZE' && context.isConstant(operator, 0)) {
    context.passConstant(operator);
    return;
  }
  if (operator.op === 'SHAPE') return;
  const first = operator.inputs.map((index) => context.values.get(index)).find((value) => value !== undefined);
  if (first === undefined && SHAPE_OPERATORS.has(operator.op)) return;
  const value = attempt(
    context.assembler,
    { name: context.name(operator), op: operator.op },
    () => {
      const make = TRANSLATIONS.get(operator.op);
      if (make === undefined) throw new Refusal('pcqat has no such layer', 'Replace it in the model.');
      return make(context, operator);
    },
    first,
  );
  if (value !== undefined) for (const output of operator.outputs) context.values.set(output, value);
}

/** One entry for all that is quantized: nothing that could be done for one operator alone. */
function refuseQuantized({ assembler, model }: TfliteContext, operators: readonly TfliteOperator[]): void {
  for (const { op, inputs, outputs } of operators) {
    const tensor = [...inputs, ...outputs].map((index) => model.tensors[index]).find((found) => found !== undefined && isQuantized(found));
    if (tensor === undefined) continue;
    assembler.unsupported({
      name: tensor.name,
      op,
      reason: `its numbers are ${tensor.dtype}: the file is quantized`,
      remedy: 'Pass dequantize: true to read integers as the real numbers they stand for; to run the file as it is, use Int8Runner.',
    });
    return;
  }
}

/** Index of the tensor where the model starts or ends. */
function endpoint(model: TfliteModel, what: 'input' | 'output', wanted: string | undefined, file: string): number {
  if (wanted !== undefined) {
    const index = model.tensors.findIndex(({ name }) => name === wanted);
    if (index >= 0) return index;
    throw new PcqatError('ERR_OPTION', `it has no tensor '${wanted}'`, { where: `${file}, ${what}`, remedy: 'Give the name of a tensor.' });
  }
  const found = what === 'input' ? model.inputs : model.outputs;
  const [index] = found;
  if (index === undefined)
    throw new PcqatError('ERR_FORMAT', `it has no ${what}`, { where: file, remedy: `Name a tensor in \`${what}\`.` });
  if (found.length === 1) return index;
  const names = found.slice(0, 8).map((i) => model.tensors[i]?.name);
  throw new PcqatError('ERR_OPTION', `it has ${found.length} ${what}s: ${names.join(', ')}`, {
    where: file,
    remedy: `Name one in \`${what}\`.`,
  });
}

function inputShapeOf({ name, shape, shapeSignature }: TfliteTensor, { inputShape }: ImportOptions, file: string): Shape {
  if (inputShape !== undefined) return inputShape;
  const [, ...example] = shape;
  const [, ...signature] = shapeSignature ?? [];
  if (example.length > 0 && !signature.includes(-1)) return example;
  throw new PcqatError('ERR_SHAPE', `the file does not say the shape of '${name}'`, {
    where: file,
    remedy: 'Pass it as `inputShape`, without the batch.',
  });
}

/** The operators between input and output, in the file's order. */
function neededOperators({ operators }: TfliteModel, input: number, output: number): TfliteOperator[] {
  const makers = new Map<number, TfliteOperator>();
  for (const operator of operators) for (const index of operator.outputs) makers.set(index, operator);
  const needed = new Set<TfliteOperator>();
  const pending = [output];
  for (let index = pending.pop(); index !== undefined; index = pending.pop()) {
    const maker = index === input ? undefined : makers.get(index);
    if (maker === undefined || needed.has(maker)) continue;
    needed.add(maker);
    for (const read of maker.inputs) pending.push(read);
  }
  return operators.filter((operator) => needed.has(operator));
}
