import { PcqatError } from '../../errors.js';
import type { Shape } from '../../graph/types.js';
import type { ImportOptions } from '../import/types.js';
import { IS_FLOAT } from './context.js';
import { dataTypeName } from './tensors.js';
import type { OnnxModel, OnnxValueInfo } from './types.js';

/** Where a model starts. */
export interface Input {
  readonly name: string;
  /** Without the batch. */
  readonly shape: Shape;
}

/** Where the axes of the file's input (the batch first) are in ours. */
export type Layout = readonly (number | 'batch')[];

/** Layouts that the input may have, the likelier first. */
export function layouts({ producer, graph }: OnnxModel, { name, shape }: Input): readonly Layout[] {
  const same: Layout = ['batch', ...shape.keys()];
  if (shape.length !== 3 && shape.length !== 2) return [same];
  const channelsFirst: Layout = ['batch', shape.length - 1, ...shape.slice(1).keys()];
  // A file that begins with a transposition says by it what it has.
  const readers = graph.nodes.filter(({ inputs }) => inputs.includes(name));
  const perm = readers[0]?.op === 'Transpose' ? readers[0].attributes.get('perm')?.ints.join() : undefined;
  if (perm === '0,3,1,2' || perm === '0,2,1') return [same, channelsFirst];
  if (perm === '0,2,3,1') return [channelsFirst, same];
  const isChannels = (size: number | undefined): boolean => size === 1 || size === 3;
  const isLast = isChannels(shape.at(-1)) && !isChannels(shape[0]);
  return /tf2onnx|keras|tensorflow/i.test(producer) || isLast ? [same, channelsFirst] : [channelsFirst, same];
}

/**
 * The input that a model starts at.
 *
 * @throws PcqatError `ERR_UNSUPPORTED` where the file does not say enough, `ERR_OPTION` where the options contradict it
 */
export function inputOf(model: OnnxModel, where: string, options: ImportOptions): Input {
  const { inputs, initializers, valueInfos } = model.graph;
  const real = inputs.filter(({ name }) => !initializers.has(name));
  const known = [...real, ...valueInfos];
  const fail = (problem: string, remedy: string): never => {
    throw new PcqatError('ERR_UNSUPPORTED', problem, { where, remedy });
  };
  if (options.input === undefined && real.length !== 1) {
    return fail(`it has ${real.length} inputs (${names(real)})`, 'Name the one to start at with the option `input`.');
  }
  const info = options.input === undefined ? real[0] : (known.find(({ name }) => name === options.input) ?? made(model, options.input));
  if (info === undefined) {
    throw new PcqatError('ERR_OPTION', `there is no tensor '${options.input}'`, { where, remedy: `Inputs of the file: ${names(real)}.` });
  }
  if (info.dataType !== 0 && !IS_FLOAT.has(info.dataType)) {
    return fail(
      `its input '${info.name}' is ${dataTypeName(info.dataType)}`,
      'Use a float model, or start behind the conversion with the option `input`.',
    );
  }
  const open = info.shape?.slice(1);
  const shape = options.inputShape ?? open;
  if (shape === undefined || shape.some((size) => typeof size !== 'number')) {
    const text = open === undefined ? 'no shape' : `the shape [${open.map((size) => size || '?').join(', ')}] beside the batch`;
    return fail(`its input '${info.name}' has ${text}`, 'Give it with the option `inputShape`, in the layout of the file.');
  }
  const differs =
    open !== undefined && (open.length !== shape.length || open.some((size, i) => typeof size === 'number' && size !== shape[i]));
  if (differs) {
    throw new PcqatError('ERR_OPTION', `inputShape is [${shape.join(', ')}], but the file has [${open.join(', ')}]`, {
      where: 'inputShape',
    });
  }
  return { name: info.name, shape: shape.length === 0 ? [1] : (shape as Shape) };
}

function made({ graph }: OnnxModel, name: string): OnnxValueInfo | undefined {
  return graph.nodes.some(({ outputs }) => outputs.includes(name)) ? { name, dataType: 0 } : undefined;
}

export function names(infos: readonly OnnxValueInfo[]): string {
  return infos.slice(0, 10).map(({ name }) => `'${name}'`).join(', ') || 'none'; // prettier-ignore
}
