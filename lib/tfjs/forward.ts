import type { Model } from '../graph/model.js';
import type { LoweredProgram } from '../train/lower.js';
import { explained } from './explain.js';
import { quantizeActivation } from './fake-quant.js';
import { computeNode, type NodeContext } from './ops.js';
import type { Run } from './run.js';
import type { TfTensor } from './tfjs.js';

/** The nodes of a model, ready to run. */
export class GraphRunner {
  readonly #model: Model;
  readonly #lowered: LoweredProgram;
  readonly #context: NodeContext;

  constructor(model: Model, lowered: LoweredProgram) {
    this.#model = model;
    this.#lowered = lowered;
    const numbers = new Map(lowered.program.instructions.map(({ name }, i) => [name, i]));
    this.#context = { model, instruction: (node) => numbers.get(node) ?? 0 };
  }

  /** Output of the graph for `[batch, …]` inputs. `visit` sees the output of every node. */
  run(run: Run, x: TfTensor, visit?: (node: string, value: TfTensor) => void): TfTensor {
    const values = new Map<string, TfTensor>();
    let value = x;
    for (const node of this.#lowered.nodes) {
      const inputs = node.op === 'input' ? [x] : node.inputs.map((name) => values.get(name) as TfTensor);
      try {
        value = computeNode(run, node, inputs, this.#context);
        const quantizer = this.#model.quantizers.get(node.name);
        if (quantizer !== undefined) value = quantizeActivation(run, node.name, value, quantizer);
      } catch (error) {
        throw explained(error, `layer '${node.name}'`);
      }
      values.set(node.name, value);
      visit?.(node.name, value);
    }
    return value;
  }
}
