/** Stable error codes. New ones may be added; existing ones never change meaning. */
export type PcqatErrorCode =
  | 'ERR_SHAPE'
  | 'ERR_DTYPE'
  | 'ERR_OPTION'
  | 'ERR_NON_FINITE'
  | 'ERR_LABEL_RANGE'
  | 'ERR_EMPTY_DATA'
  | 'ERR_GRAPH'
  | 'ERR_UNKNOWN_LAYER'
  | 'ERR_UNSUPPORTED'
  | 'ERR_RECIPE'
  | 'ERR_FORMAT'
  | 'ERR_IO'
  | 'ERR_DIVERGED'
  | 'ERR_INVARIANT'
  | 'ERR_SESSION_BUSY'
  | 'ERR_DISPOSED'
  | 'ERR_NATIVE_MISSING'
  | 'ERR_ISA'
  | 'ERR_CUDA_UNAVAILABLE'
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_MISSING_PEER'
  | 'ERR_INTERNAL';

/** Where an error is, and what to do about it. */
export interface PcqatErrorDetails {
  /** Layer, file or field, e.g. `layer 'conv1'`, `recipe.stages[2].sparsity`. */
  readonly where?: string;
  /** One sentence that says what to do. */
  readonly remedy?: string;
  readonly cause?: unknown;
}

/**
 * The one error family of pcqat. `message` = what was wrong, where, what to do; `code` is stable.
 *
 * @example
 * ```ts
 * import { PcqatError } from 'pcqat';
 * try {
 *   throw new PcqatError('ERR_OPTION', 'sparsity is 1.2 but must be in [0, 1)', { where: 'schedule.finalSparsity' });
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_OPTION
 * }
 * ```
 */
export class PcqatError extends Error {
  readonly code: PcqatErrorCode;
  readonly where?: string;
  readonly remedy?: string;

  constructor(code: PcqatErrorCode, message: string, details: PcqatErrorDetails = {}) {
    const where = details.where === undefined ? '' : ` (${details.where})`;
    const remedy = details.remedy === undefined ? '' : ` ${details.remedy}`;
    super(`${message}${where}.${remedy}`.replace(/\.\.( |$)/, '.$1'), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'PcqatError';
    this.code = code;
    if (details.where !== undefined) this.where = details.where;
    if (details.remedy !== undefined) this.remedy = details.remedy;
  }
}

/** Checks an option that counts something. @throws PcqatError `ERR_OPTION` */
export function requireCount(name: string, value: unknown, least = 1): void {
  if (Number.isSafeInteger(value) && (value as number) >= least) return;
  throw new PcqatError('ERR_OPTION', `${name} is ${String(value)} but must be an integer of at least ${least}`, { where: name });
}
