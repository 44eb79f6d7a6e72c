import path from 'node:path';
import { PcqatError } from '../../errors.js';
import { ModelAssembler } from '../import/assemble.js';
import { readBytes } from '../read-bytes.js';
import type { Assembled, ImportOptions } from '../import/types.js';
import { foldConstants } from './constants.js';
import { ImportContext, layerName, Refusal } from './context.js';
import { type ExternalFiles, filesBeside } from './external.js';
import { type Input, inputOf, type Layout, layouts, names } from './input.js';
import { OPERATORS, remedyFor } from './operators.js';
import { readOnnx } from './read.js';
import { elementsOf } from './tensors.js';
import type { OnnxModel, OnnxNode } from './types.js';
import { activation, type Activation, type Value } from './values.js';

const [OLDEST, NEWEST] = [6, 26];

/**
 * Reads an ONNX file (float, opset 6 and later). A file's image input `[N, C, H, W]` becomes our `[H, W, C]`, also where the file
 * begins with a transposition; so do all images inside. The output of an image is `[H, W, C]` too.
 */
export async function assembleOnnx(file: string, options: ImportOptions): Promise<Assembled> {
  return assembleOnnxBytes(await readBytes(file), filesBeside(file), options);
}

/** The same from bytes. */
export function assembleOnnxBytes(bytes: Uint8Array, files: ExternalFiles, options: ImportOptions = {}): Assembled {
  const model = readOnnx(bytes, files.where);
  const opset = model.opsets.get('') ?? 1;
  if (opset < OLDEST || opset > NEWEST) {
    throw new PcqatError('ERR_UNSUPPORTED', `its opset is ${opset}`, {
      where: files.where,
      remedy: `Export the model with an opset from 7 to ${NEWEST}.`,
    });
  }
  const input = inputOf(model, files.where, options);
  const attempts = layouts(model, input).map((layout) => attempt(() => new Import(model, files, options, opset).run(input, layout)));
  const results = attempts.flatMap((result) => ('assembled' in result ? [result.assembled] : []));
  const best = results.toSorted(byLikelihood)[0];
  // An error says that all before it went well with that layout; else the layout that leaves least to complain about is the file's.
  const failed = attempts.find((result) => 'error' in result);
  if (best !== undefined && (best.problems === 0 || failed === undefined)) {
    requireMemory(best, model, bytes.length, files.where);
    return best;
  }
  throw failed?.error ?? new PcqatError('ERR_INTERNAL', 'there is no layout', { where: files.where });
}

/** The layout that leaves least to complain about is the file's; of two, the one that needs no reshapes, or that came farther. */
function byLikelihood(a: Assembled & { readonly problems: number }, b: Assembled & { readonly problems: number }): number {
  const more = a.assembler.check().layers.length - b.assembler.check().layers.length;
  return a.problems - b.problems || (a.problems === 0 ? more : -more);
}

type Attempt = { readonly assembled: Assembled & { readonly problems: number } } | { readonly error: PcqatError };

function attempt(run: () => Assembled & { readonly problems: number }): Attempt {
  try {
    return { assembled: run() };
  } catch (error) {
    if (error instanceof PcqatError) return { error };
    throw error;
  }
}

/** Weights that many layers share, fills and scalings of large values make parameters that the file has not; this many bytes are all right. */
const FREE_BYTES = 2 ** 28;

function requireMemory({ assembler }: Assembled, { graph }: OnnxModel, fileBytes: number, where: string): void {
  const external = [...graph.initializers.values()].filter((tensor) => tensor.external !== undefined);
  const stored = fileBytes + 4 * external.reduce((sum, { dims }) => sum + elementsOf(dims), 0);
  const { parameters } = assembler.check();
  if (4 * parameters <= 2 * stored + FREE_BYTES) return;
  throw new PcqatError('ERR_UNSUPPORTED', `its layers have ${parameters} parameters, far more than the file holds`, {
    where,
    remedy: 'Give every layer its own weights.',
  });
}

/** One pass over the nodes, with one idea of the input's layout. */
class Import {
  /** Tensors whose shape is not sure, as a node before them was refused. */
  readonly #doubtful = new Set<string>();

  constructor(
    readonly model: OnnxModel,
    readonly files: ExternalFiles,
    readonly options: ImportOptions,
    readonly opset: number,
  ) {}

  run(input: Input, layout: Layout): Assembled & { readonly problems: number } {
    const { graph } = this.model;
    const { where } = this.files;
    const assembler = new ModelAssembler(graph.name || path.basename(where, '.onnx'), 'onnx', where);
    const output = this.#output();
    const context = new ImportContext(assembler, this.files, graph, this.opset, this.options.dequantize === true, new Set([output]));
    const shape: number[] = [];
    layout.forEach((place, i) => typeof place === 'number' && (shape[place] = input.shape[i - 1] ?? 1));
    const start = context.add({ op: 'input', name: input.name.replace(/^\/+/, ''), inputs: [], shape });
    context.values.set(input.name, activation(start, shape, layout));
    let problems = 0;
    for (const node of this.#needed(output, input.name)) {
      if (context.done.has(node) || node.outputs.includes(input.name)) continue;
      problems += this.#convert(context, node);
    }
    const last = context.values.get(output);
    if (last?.kind === 'activation') problems += problems > 0 ? 0 : this.#checkEnd(context, output, last);
    else if (problems === 0) {
      throw new PcqatError('ERR_FORMAT', `its output '${output}' does not depend on the input`, { where, remedy: 'Check the options.' });
    }
    const end = last?.kind === 'activation' ? last.node : start;
    return { assembler, output: end, weightScales: context.weightScales, problems };
  }

  #output(): string {
    const { graph } = this.model;
    const wanted = this.options.output;
    if (wanted !== undefined) {
      const node = graph.nodes.find(({ name, outputs }) => outputs.includes(wanted) || (name === wanted && name !== ''));
      if (node !== undefined) return node.outputs.includes(wanted) ? wanted : (node.outputs[0] ?? wanted);
      throw new PcqatError('ERR_OPTION', `there is no tensor or node '${wanted}'`, {
        where: 'output',
        remedy: `Known: ${names(graph.outputs)}.`,
      });
    }
    const [first, ...others] = graph.outputs;
    if (first !== undefined && others.length === 0) return first.name;
    throw new PcqatError('ERR_UNSUPPORTED', `it has ${graph.outputs.length} outputs (${names(graph.outputs)})`, {
      where: this.files.where,
      remedy: 'Name one with the option `output`.',
    });
  }

  /** Nodes that the output needs, in an order in which inputs come first; what makes the input is left out. */
  #needed(output: string, input: string): OnnxNode[] {
    const makers = new Map<string, OnnxNode>();
    for (const node of this.model.graph.nodes) for (const name of node.outputs) if (name !== '') makers.set(name, node);
    const [found, open] = [new Set<OnnxNode>(), new Set<OnnxNode>()];
    const stack: { readonly node: OnnxNode; next: number }[] = [];
    const visit = (tensor: string): void => {
      const node = tensor === input ? undefined : makers.get(tensor);
      if (node === undefined || found.has(node)) return;
      if (open.has(node)) {
        throw new PcqatError('ERR_FORMAT', `node '${layerName(node)}' depends on itself`, {
          where: this.files.where,
          remedy: 'The file is damaged.',
        });
      }
      open.add(node);
      stack.push({ node, next: 0 });
    };
    visit(output);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const tensor = top.node.inputs[top.next++];
      if (tensor !== undefined) visit(tensor);
      else {
        stack.pop();
        found.add(top.node);
        open.delete(top.node);
      }
    }
    // Constants first: what reads a value may be looked at together with it, and must be known by then.
    const moving = new Set([input]);
    const [constant, other]: [OnnxNode[], OnnxNode[]] = [[], []];
    for (const node of found) {
      const isMoving = node.inputs.some((name) => moving.has(name));
      if (isMoving) for (const name of node.outputs) moving.add(name);
      (isMoving ? other : constant).push(node);
    }
    return [...constant, ...other];
  }

  /** Returns the number of problems found. */
  #convert(context: ImportContext, node: OnnxNode): number {
    const [result, refusal] = this.#value(context, node);
    const [first, ...others] = node.outputs;
    if (first !== undefined) context.values.set(first, result);
    for (const name of others) if (name !== '') context.values.set(name, { kind: 'unknown' });
    const isDoubtful = node.inputs.some((name) => this.#doubtful.has(name));
    if (isDoubtful || refusal !== undefined) for (const name of node.outputs) this.#doubtful.add(name);
    if (refusal === undefined || (isDoubtful && !refusal.isCertain)) return 0;
    context.assembler.unsupported({ name: layerName(node), op: node.op, reason: refusal.reason, remedy: refusal.remedy });
    return 1;
  }

  #value(context: ImportContext, node: OnnxNode): [Value, Refusal?] {
    const inputs = node.inputs.filter((name) => name !== '').map((name) => context.values.get(name));
    const standIn = inputs.find((value) => value?.kind === 'activation') ?? { kind: 'unknown' as const };
    if (inputs.includes(undefined)) {
      const missing = node.inputs.find((name) => name !== '' && !context.values.has(name));
      return [standIn, new Refusal(`its input '${missing}' is made by nothing`, 'Check the option `input`, or export the file again.')];
    }
    if (inputs.some((value) => value?.kind === 'unknown')) return [{ kind: 'unknown' }];
    try {
      const constant = node.domain === '' ? foldConstants(context, node) : undefined;
      if (constant !== undefined) return [constant];
      const handler = node.domain === '' ? OPERATORS.get(node.op) : undefined;
      if (handler !== undefined) return [handler(context, node)];
      const { reason, remedy } = remedyFor(node.op);
      return [standIn, new Refusal(node.domain === '' ? reason : `it is of the domain '${node.domain}'`, remedy, true)];
    } catch (error) {
      if (error instanceof Refusal) return [standIn, error];
      // Shapes behind a refused node need not fit.
      if (error instanceof PcqatError && node.inputs.some((name) => this.#doubtful.has(name))) return [standIn];
      throw error;
    }
  }

  /** The model's output must be in our order. */
  #checkEnd(context: ImportContext, output: string, last: Activation): number {
    if (last.axes[0] === 'batch' && last.axes.slice(1).every((axis) => axis === 'batch' || isAscending(last, axis))) return 0;
    context.assembler.unsupported({
      name: output,
      op: 'output',
      reason: 'the model ends in a flattened image, or with the batch in another place',
      remedy: 'End before the flattening, with the option `output`.',
    });
    return 1;
  }
}

function isAscending({ dims }: Activation, axis: Exclude<Activation['axes'][number], 'batch'>): boolean {
  return axis.every((dim, i) => i === 0 || dims.indexOf(dim) > dims.indexOf(axis[i - 1] ?? dim));
}
