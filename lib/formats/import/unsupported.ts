import { PcqatError } from '../../errors.js';
import type { UnsupportedNode } from './types.js';

/** One line per node; names come from the file, so control characters are left out. */
function line({ name, op, reason, remedy }: UnsupportedNode): string {
  // eslint-disable-next-line no-control-regex
  return `- ${op} '${name}': ${reason}. ${remedy}`.replace(/[\u0000-\u001f\u007f-\u009f]/g, '�');
}

/**
 * A file has nodes that pcqat cannot take: `ERR_UNSUPPORTED` with all of them.
 *
 * @example
 * ```ts
 * import { UnsupportedNodesError } from 'pcqat';
 * const error = new UnsupportedNodesError([{ name: 'gru', op: 'GRU', reason: 'it is recurrent', remedy: 'Use convolutions.' }], 'm.onnx');
 * console.log(error.code, error.nodes.length); // ERR_UNSUPPORTED 1
 * ```
 */
export class UnsupportedNodesError extends PcqatError {
  readonly nodes: readonly UnsupportedNode[];

  constructor(nodes: readonly UnsupportedNode[], where: string) {
    const count = nodes.length === 1 ? 'One node is' : `${nodes.length} nodes are`;
    super('ERR_UNSUPPORTED', `${count} not supported`, { where, remedy: `\n${nodes.map(line).join('\n')}` });
    this.name = 'UnsupportedNodesError';
    this.nodes = nodes;
  }
}
