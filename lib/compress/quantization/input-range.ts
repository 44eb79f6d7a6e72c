import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import type { Graph, GraphNode } from '../../graph/types.js';
import { draftOf, type ModelDraft } from '../state.js';
import { setOutputQuantizer } from './config.js';
import { fixedQuantizer } from './quantizers.js';

/** Options of {@link fixInputOutputRange}. */
export interface FixRangeOptions {
  /** `[min, max]` of the input. */
  readonly input?: readonly [number, number];
  /** `[min, max]` of the output. */
  readonly output?: readonly [number, number];
  /** Use 255 codes, −127 … 127, instead of 256. Default `false`. */
  readonly narrowRange?: boolean;
}

/**
 * Gives the input, the output or both of a quantized model a known range that training does not move, such as 0…1 for images or −127…127
 * (narrow) for int8 data (tfmot `fix_input_output_range`). `convertToInt8` writes exactly its scale and zero point.
 *
 * @param model - a result of `quantizeApply` or `quantizeModel`
 * @returns a new model
 * @throws {@link PcqatError} `ERR_OPTION` for a bad range or a model that is not quantized, `ERR_UNSUPPORTED` for the output of a softmax,
 *   whose int8 range TFLite prescribes, or of an average pool, which keeps its input's
 * @example
 * ```ts
 * import { fixInputOutputRange, quantizeModel, zoo } from 'pcqat';
 * const model = fixInputOutputRange(quantizeModel(zoo.lenet5()), { input: [0, 1] });
 * console.log(model.quantizers.get('input')?.update); // none
 * ```
 */
export function fixInputOutputRange(model: Model, options: FixRangeOptions): Model {
  const draft = quantizedDraft(model, 'fixInputOutputRange');
  const { narrowRange = false } = options;
  const targets = { input: inputOf(draft.graph), output: options.output === undefined ? undefined : outputOf(draft.graph) };
  for (const which of ['input', 'output'] as const) {
    const range = options[which];
    const node = targets[which];
    if (range === undefined || node === undefined) continue;
    if (!Array.isArray(range) || range.length !== 2) {
      throw new PcqatError('ERR_OPTION', `${which} must be [min, max]`, { where: `fixInputOutputRange.${which}` });
    }
    const [min, max] = range as readonly [number, number];
    const old = draft.quantizers.get(node.name);
    const defaults = { decay: old?.decay ?? 0.99, rangeInit: old?.rangeInit ?? 'data' } as const;
    setOutputQuantizer(draft, node.name, fixedQuantizer({ min, max, narrowRange }), defaults);
  }
  return draft;
}

/**
 * Takes the fake quantization of the input away (tfmot `remove_input_range`): the model trains on the input as it is. `convertToInt8`
 * then needs `representativeData` for the input's range.
 *
 * @returns a new model
 * @throws {@link PcqatError} `ERR_OPTION` for a model that is not quantized
 * @example
 * ```ts
 * import { quantizeModel, removeInputRange, zoo } from 'pcqat';
 * console.log(removeInputRange(quantizeModel(zoo.lenet5())).quantizers.has('input')); // false
 * ```
 */
export function removeInputRange(model: Model): Model {
  const draft = quantizedDraft(model, 'removeInputRange');
  const { name } = inputOf(draft.graph);
  draft.quantizers.delete(name);
  for (const which of ['min', 'max']) draft.tensors.delete(`${name}:${which}`);
  return draft;
}

function quantizedDraft(model: Model, where: string): ModelDraft {
  if (model.quantizers.size === 0) {
    throw new PcqatError('ERR_OPTION', 'the model is not quantized', { where, remedy: 'Call quantizeModel or quantizeApply first.' });
  }
  return draftOf(model);
}

function inputOf({ nodes }: Graph): GraphNode {
  const input = nodes.find(({ op }) => op === 'input');
  if (input === undefined) throw new PcqatError('ERR_GRAPH', 'the graph has no input');
  return input;
}

/** The node whose range the output has: layers that only move values around pass it on. */
function outputOf({ nodes }: Graph): GraphNode {
  const byName = new Map(nodes.map((node) => [node.name, node]));
  let node = nodes.at(-1);
  while (node !== undefined && ['flatten', 'reshape', 'dropout', 'maxPool2d', 'zeroPad2d'].includes(node.op)) {
    node = byName.get(node.inputs[0] ?? '');
  }
  if (node === undefined || node.op === 'softmax' || node.op === 'averagePool2d') {
    throw new PcqatError('ERR_UNSUPPORTED', 'the output cannot have a range of its own in int8', {
      where: `layer '${node?.name ?? ''}'`,
      remedy: 'Leave the softmax out of the model, or the output out of this call.',
    });
  }
  return node;
}
