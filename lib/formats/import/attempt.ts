import { PcqatError } from '../../errors.js';
import type { ModelAssembler } from './assemble.js';

/** Thrown where an operator of a file is translated: it cannot be taken. {@link attempt} notes it and goes on. */
export class Refusal extends Error {
  constructor(
    readonly reason: string,
    readonly remedy: string,
  ) {
    super(reason);
  }
}

/**
 * Translates one operator of a file. A refusal is noted in the assembler, and so that the nodes after it are checked too, the operator's
 * value is then taken to be its input's.
 *
 * @param make - adds the operator's nodes; returns the node that holds its value
 * @param fallback - the node that holds its first input
 */
export function attempt(
  assembler: ModelAssembler,
  operator: { readonly name: string; readonly op: string },
  make: () => string,
  fallback: string | undefined,
): string | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof Refusal) assembler.unsupported({ ...operator, reason: error.reason, remedy: error.remedy });
    // After a node that was not taken, shapes may be wrong without the file being so.
    else if (!(error instanceof PcqatError) || assembler.complete) throw error;
    return fallback;
  }
}
