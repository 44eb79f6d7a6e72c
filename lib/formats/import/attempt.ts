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

/** The shapes of an operator's values do not allow it. Not told after a node that was not taken: its shape is not known then. */
export class ShapeRefusal extends Refusal {}

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
    const isShape = error instanceof ShapeRefusal || error instanceof PcqatError;
    if (isShape && !assembler.complete) return fallback;
    if (!(error instanceof Refusal)) throw error;
    assembler.unsupported({ ...operator, reason: error.reason, remedy: error.remedy });
    return fallback;
  }
}
