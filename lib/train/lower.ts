import type {
  ActivationFakeQuant,
  Instruction,
  LossSpec,
  ProgramSpec,
  Requantization,
  TensorId,
  ValueId,
  ValueSpec,
  WeightChainSpec,
} from '../../binding.js';
import type { ActivationQuantizer } from '../compress/chains.js';
import { positiveScales } from '../compress/quantization/normalize-signs.js';
import { PcqatError } from '../errors.js';
import type { Model } from '../graph/model.js';
import { parameterShapes } from '../graph/shapes.js';
import type { GraphNode, Shape } from '../graph/types.js';
import { validateGraph } from '../graph/validate.js';
import { imageOf } from '../graph/windows.js';
import { fuse, type FusedGroup, groupOutput } from './fuse.js';
import type { Loss } from './losses.js';
import { lowerChain } from './lower-chain.js';
import { lowerNode, quantizesInPlace } from './lower-node.js';
import { TensorTable } from './tensor-table.js';

/** What a program is for. */
export interface LowerOptions {
  /** Adds the loss. With `softmaxCrossEntropy` a softmax at the end of the graph is left out: the output is logits. */
  readonly loss?: Loss;
  /** Class numbers or rows. Default `sparse`. */
  readonly labels?: 'sparse' | 'dense';
  /**
   * By node: rounds its value as the integer kernel of an exported file does, instead of fake quantization; for inference only. Nodes fused
   * into a later one are left alone. Default: none.
   */
  readonly requantize?: ReadonlyMap<string, Requantization>;
}

/** A model as a native program, and how to find things in it. */
export interface LoweredProgram {
  readonly program: ProgramSpec;
  /** The nodes that it computes, in order: those that the output depends on. */
  readonly nodes: readonly GraphNode[];
  /** By tensor name; only tensors that the program uses. */
  readonly tensors: ReadonlyMap<string, TensorId>;
  /** By node name: its value, fake quantization included. Nodes fused into a later one have none. */
  readonly values: ReadonlyMap<string, ValueId>;
  /** Parameter of each chain, in the program's order. */
  readonly chains: readonly string[];
  /** Shape of one input and one output row. */
  readonly inputShape: Shape;
  readonly outputShape: Shape;
}

/** The nodes that the output depends on, in order; a final softmax is left out when the loss contains it. */
function neededNodes(nodes: readonly GraphNode[], loss: Loss | undefined): GraphNode[] {
  let output = nodes.at(-1);
  if (output?.op === 'softmax' && loss?.kind === 'softmaxCrossEntropy') output = nodes.find((node) => node.name === output?.inputs[0]);
  const needed = new Set([output?.name]);
  // Inputs always come earlier, so one backward pass finds every ancestor. The input stays even if nothing reads it.
  for (const node of [...nodes].reverse()) if (needed.has(node.name)) node.inputs.forEach((input) => needed.add(input));
  return nodes.filter((node) => needed.has(node.name));
}

/** Builds one program; kept as a class because instructions, values and tensors refer to each other by index. */
class Lowering {
  readonly table: TensorTable;
  readonly values = new Map<string, ValueId>();
  readonly specs: ValueSpec[] = [];
  readonly instructions: Instruction[] = [];
  readonly chains: WeightChainSpec[] = [];
  readonly chainNames: string[] = [];
  readonly #model: Model;
  readonly #shapes: ReadonlyMap<string, Shape>;
  readonly #positiveScales: ReadonlySet<string>;
  readonly #requantize: ReadonlyMap<string, Requantization>;

  constructor(model: Model, shapes: ReadonlyMap<string, Shape>, requantize: ReadonlyMap<string, Requantization>) {
    this.#model = model;
    this.#shapes = shapes;
    this.#positiveScales = positiveScales(model);
    this.#requantize = requantize;
    this.table = new TensorTable(model);
  }

  shapeOf(node: string): Shape {
    return this.#shapes.get(node) ?? [];
  }

  add(group: FusedGroup): void {
    const { head, relu } = group;
    const name = groupOutput(group);
    const shape = this.shapeOf(name);
    const activation = relu === undefined ? 'none' : (relu.op as 'relu' | 'relu6');
    const requantization = this.#requantize.get(name);
    const quantizer = requantization === undefined ? group.quantizer : undefined;
    const inPlace = quantizer !== undefined && quantizesInPlace(head.op);
    const replaced = requantization?.rounding === 'add' || requantization?.rounding === 'hardSwish';
    const separate = (requantization !== undefined && !replaced) || (quantizer !== undefined && !inPlace);
    let value = this.#value(separate ? `${name}:float` : name, shape);
    if (replaced) {
      const [input = -1, other] = head.inputs.map((operand) => this.values.get(operand) ?? -1);
      const base = { name, op: 'requantize', input, output: value, activation, requantization } as const;
      this.instructions.push({ ...base, ...(other === undefined ? {} : { other }) });
    } else if (head.op !== 'input') {
      this.#addChain(head);
      this.instructions.push(
        lowerNode(head, {
          inputs: head.inputs.map((input) => this.values.get(input) ?? -1),
          inputShape: this.shapeOf(head.inputs[0] ?? ''),
          output: value,
          activation,
          positiveScale: this.#positiveScales.has(head.name),
          table: this.table,
          ...(inPlace ? { fakeQuant: this.#fakeQuant(name, quantizer) } : {}),
        }),
      );
    }
    if (separate) {
      const input = value;
      value = this.#value(name, shape);
      const base = { name, input, output: value };
      if (quantizer !== undefined) this.instructions.push({ ...base, op: 'fakeQuant', fakeQuant: this.#fakeQuant(name, quantizer) });
      else if (requantization !== undefined) this.instructions.push({ ...base, op: 'requantize', requantization });
    }
    this.values.set(name, value);
  }

  /** Sequences are images of height 1 in the core. */
  #value(name: string, shape: Shape): ValueId {
    this.specs.push({ name, shape: imageOf(shape) });
    return this.specs.length - 1;
  }

  #addChain(node: GraphNode): void {
    const weight = `${node.name}/kernel`;
    const chain = this.#model.chains.get(weight);
    if (chain === undefined) return;
    const shape = parameterShapes(node, this.shapeOf(node.inputs[0] ?? '')).get('kernel') ?? [];
    this.chains.push(lowerChain(weight, shape, chain, this.table));
    this.chainNames.push(weight);
  }

  #fakeQuant(node: string, quantizer: ActivationQuantizer): ActivationFakeQuant {
    const { bits, symmetric = false, narrowRange = false, update, decay } = quantizer;
    const scalar = { shape: [1] };
    return {
      min: this.table.id(`${node}:min`, scalar),
      max: this.table.id(`${node}:max`, scalar),
      bits,
      symmetric,
      narrowRange,
      update,
      decay,
    };
  }
}

/** Chains and quantizers must belong to something, or a typo would silently train without them. */
function checkTargets(model: Model): void {
  const nodes = new Map(model.graph.nodes.map((node) => [node.name, node]));
  for (const weight of model.chains.keys()) {
    const node = nodes.get(weight.slice(0, -'/kernel'.length));
    if (!weight.endsWith('/kernel') || node === undefined || !('useBias' in node)) {
      throw new PcqatError('ERR_GRAPH', 'a weight chain must name the kernel of a layer', { where: `chain '${weight}'` });
    }
  }
  for (const name of model.quantizers.keys()) {
    if (!nodes.has(name)) throw new PcqatError('ERR_GRAPH', 'an activation quantizer must name a layer', { where: `quantizer '${name}'` });
  }
}

function lossSpec(loss: Loss, labels: 'sparse' | 'dense', output: ValueId, shape: Shape): LossSpec {
  if (loss.kind === 'meanSquaredError') return { kind: 'meanSquaredError', prediction: output };
  if (shape.length !== 1) {
    throw new PcqatError('ERR_SHAPE', `softmaxCrossEntropy needs one row of logits but the model's output is [${shape.join(', ')}]`, {
      where: 'loss',
      remedy: 'End the model with a dense layer or a global pool.',
    });
  }
  return { kind: 'softmaxCrossEntropy', logits: output, labels, labelSmoothing: loss.labelSmoothing };
}

/**
 * Turns a model into a native program: unused nodes removed, ReLU and fake quantization fused, weight chains and activation
 * quantizers placed, SAME padding resolved.
 *
 * @throws PcqatError `ERR_GRAPH`, `ERR_UNKNOWN_LAYER`, `ERR_SHAPE`, `ERR_DTYPE` naming the layer or tensor.
 */
export function lower(model: Model, options: LowerOptions = {}): LoweredProgram {
  const { loss, labels = 'sparse', requantize = new Map<string, Requantization>() } = options;
  const shapes = validateGraph(model.graph);
  checkTargets(model);
  const nodes = neededNodes(model.graph.nodes, loss);
  const [inputName, outputName] = [nodes[0]?.name ?? '', nodes.at(-1)?.name ?? ''];
  const lowering = new Lowering(model, shapes, requantize);
  for (const group of fuse(nodes, outputName, model.quantizers)) lowering.add(group);
  const output = lowering.values.get(outputName) ?? -1;
  return {
    program: {
      tensors: lowering.table.specs,
      values: lowering.specs,
      instructions: lowering.instructions,
      chains: lowering.chains,
      input: 0,
      output,
      ...(loss === undefined ? {} : { loss: lossSpec(loss, labels, output, lowering.shapeOf(outputName)) }),
    },
    nodes,
    tensors: lowering.table.ids,
    values: lowering.values,
    chains: lowering.chainNames,
    inputShape: lowering.shapeOf(inputName),
    outputShape: lowering.shapeOf(outputName),
  };
}
