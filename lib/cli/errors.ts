import { PcqatError } from '../errors.js';

/** What a failed command prints: one line with the code, or a stack where asked. */
export function describeError(error: unknown, verbose: boolean): string {
  if (verbose && error instanceof Error) {
    const cause = error.cause instanceof Error ? `\nCaused by: ${error.cause.stack ?? error.cause.message}` : '';
    return `${error.stack ?? error.message}${cause}`;
  }
  if (error instanceof PcqatError) return `pcqat: ${error.code}: ${error.message}`;
  const message = error instanceof Error ? error.message : String(error);
  return `pcqat: ERR_INTERNAL: ${message} This is a bug in pcqat: please report it with the output of the same command with --verbose.`;
}
