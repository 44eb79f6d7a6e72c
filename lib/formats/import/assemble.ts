import { PcqatError } from '../../errors.js';
import { listParameters, type Model, type Tensor } from '../../graph/model.js';
import { elementCount, inferNodeShape } from '../../graph/shapes.js';
import type { Graph, GraphNode, Shape } from '../../graph/types.js';
import { validateGraph, validateNode } from '../../graph/validate.js';
import type { ImportCheck, ImportFormat, ParameterSources, UnsupportedNode } from './types.js';
import { UnsupportedNodesError } from './unsupported.js';

/** Far above any real network; keeps a hostile file from taking all memory. */
const MAX_NODES = 100_000;

/**
 * Collects the nodes of a file as a graph, with parameters that are read at the end, and what cannot be taken, so that one error names it all.
 * The input node comes first; every other node comes after its inputs.
 */
export class ModelAssembler {
  readonly #name: string;
  readonly #format: ImportFormat;
  readonly #where: string;
  readonly #nodes: GraphNode[] = [];
  readonly #shapes = new Map<string, Shape>();
  readonly #sources = new Map<string, ParameterSources>();
  readonly #unsupported: UnsupportedNode[] = [];
  readonly #tried = new Map<string, number>();

  /** @param where - the file, for errors */
  constructor(name: string, format: ImportFormat, where: string) {
    this.#name = name;
    this.#format = format;
    this.#where = where;
  }

  /**
   * Adds a node. Its name may be any text: characters that layer names cannot have become `_`, and a name in use gets a number.
   *
   * @returns the name it got
   * @throws PcqatError `ERR_GRAPH`, `ERR_SHAPE` where attributes or input shapes do not fit
   */
  add(node: GraphNode, parameters: ParameterSources = {}): string {
    if (this.#nodes.length >= MAX_NODES)
      throw new PcqatError('ERR_UNSUPPORTED', `it has more than ${MAX_NODES} nodes`, { where: this.#where });
    const named = { ...node, name: this.#unique(node.name) };
    validateNode(named);
    this.#shapes.set(
      named.name,
      inferNodeShape(
        named,
        named.inputs.map((input) => this.shapeOf(input)),
      ),
    );
    this.#nodes.push(named);
    this.#sources.set(named.name, parameters);
    return named.name;
  }

  /** Output shape of a node that was added, without the batch. */
  shapeOf(name: string): Shape {
    const shape = this.#shapes.get(name);
    if (shape === undefined) throw new PcqatError('ERR_FORMAT', `'${name}' is used before it is made`, { where: this.#where });
    return shape;
  }

  /** Notes a node that cannot be taken. Go on with the next one: all are told at once. */
  unsupported(node: UnsupportedNode): void {
    if (this.#unsupported.length < MAX_NODES) this.#unsupported.push(node);
  }

  /** True when nothing was unsupported so far. */
  get complete(): boolean {
    return this.#unsupported.length === 0;
  }

  /** What was found, without reading parameters. */
  check(): ImportCheck {
    const graph: Graph = { name: this.#name, nodes: this.#nodes };
    return {
      format: this.#format,
      name: this.#name,
      layers: this.#nodes.map(({ name, op }) => ({ name, op, shape: this.shapeOf(name) })),
      parameters: listParameters(graph).reduce((sum, { shape }) => sum + elementCount(shape), 0),
      unsupported: this.#unsupported,
    };
  }

  /**
   * The model that ends at `output`; nodes that it does not need are dropped. Batch normalization without gamma, beta or statistics gets
   * those that change nothing.
   *
   * @throws UnsupportedNodesError when any node was unsupported
   * @throws PcqatError `ERR_FORMAT` for parameters that are missing or have another size, `ERR_NON_FINITE` for NaN or infinity in them
   */
  finish(output: string): Model {
    if (!this.complete) throw new UnsupportedNodesError(this.#unsupported, this.#where);
    const graph: Graph = { name: this.#name, nodes: this.#needed(output) };
    validateGraph(graph);
    const tensors = new Map<string, Tensor>();
    for (const { name, node, shape } of listParameters(graph)) {
      tensors.set(name, { shape, data: this.#parameter(name, node, elementCount(shape)) });
    }
    return { graph, tensors, chains: new Map(), quantizers: new Map() };
  }

  #needed(output: string): GraphNode[] {
    this.shapeOf(output);
    const needed = new Set([output]);
    const nodes = this.#nodes.toReversed().filter((node) => {
      if (!needed.has(node.name) && node.op !== 'input') return false;
      node.inputs.forEach((input) => needed.add(input));
      return true;
    });
    return nodes.toReversed();
  }

  #parameter(name: string, node: string, elements: number): Float32Array {
    const where = `${this.#where}, layer '${node}'`;
    const short = name.slice(node.length + 1);
    const source = this.#sources.get(node)?.[short];
    if (source === undefined) {
      if (short === 'kernel' || short === 'bias') throw new PcqatError('ERR_FORMAT', `it has no ${short}`, { where });
      return new Float32Array(elements).fill(short === 'gamma' || short === 'moving_variance' ? 1 : 0);
    }
    const data = source();
    if (data.length !== elements) {
      throw new PcqatError('ERR_FORMAT', `its ${short} has ${data.length} values and not ${elements}`, {
        where,
        remedy: 'The file is damaged.',
      });
    }
    const bad = data.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new PcqatError('ERR_NON_FINITE', `value ${bad} of its ${short} is ${data[bad]}`, { where });
    return data;
  }

  #unique(wanted: string): string {
    const base = wanted.replace(/[/:\p{Cc}]/gu, '_').slice(0, 180) || 'layer';
    let name = base;
    let i = this.#tried.get(base) ?? 0; // so that thousands of equal names do not try each other's numbers
    while (this.#shapes.has(name)) name = `${base}_${++i}`;
    this.#tried.set(base, i);
    return name;
  }
}
