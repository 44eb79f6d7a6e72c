import { PcqatError } from '../errors.js';

/** `@tensorflow/tfjs-node` 4.22 calls functions of `node:util` that Node 23 removed. */
const REMOVED = /\b(isNullOrUndefined|isArray|isNumber|isString|isObject|isFunction|isUndefined|isNull|isPrimitive)\b.* is not a function/;

/** The lines that give `node:util` back what `@tensorflow/tfjs-node` needs. */
export const UTIL_SHIM = [
  "import util from 'node:util';",
  'util.isNullOrUndefined ??= (value) => value == null; util.isArray ??= Array.isArray;',
].join('\n');

/** What a user can do about an error of tfjs; others come back as they are. */
export function explained(error: unknown, where: string): unknown {
  if (error instanceof PcqatError || !(error instanceof Error)) return error;
  const missing = /Kernel '([^']+)' not registered for backend '([^']+)'/.exec(error.message);
  if (missing !== null) {
    return new PcqatError('ERR_UNSUPPORTED', `the tfjs backend '${missing[2]}' has no kernel ${missing[1]}`, {
      where,
      remedy: 'Use a backend that can train, such as cpu or tensorflow (tfjs-node).',
      cause: error,
    });
  }
  if (/backend '[^']*' has not yet been initialized|No backend found in registry/.test(error.message)) {
    return new PcqatError('ERR_OPTION', 'tfjs has no backend that is ready', {
      where,
      remedy: 'Import one, such as @tensorflow/tfjs-backend-cpu, and `await tf.ready()`.',
      cause: error,
    });
  }
  const gradient = /gradient function not found for (\w+)/.exec(error.message);
  if (gradient !== null) {
    return new PcqatError('ERR_UNSUPPORTED', `tfjs has no gradient of ${gradient[1]}: @tensorflow/tfjs-core alone registers none`, {
      where,
      remedy: "Use '@tensorflow/tfjs' or '@tensorflow/tfjs-node', or import '@tensorflow/tfjs-layers' beside '@tensorflow/tfjs-core'.",
      cause: error,
    });
  }
  if (REMOVED.test(error.message)) return missingUtil(error, where);
  return error;
}

/** The error of tfjs-node on a Node without the functions that it calls. */
export function missingUtil(cause: unknown, where: string): PcqatError {
  return new PcqatError('ERR_UNSUPPORTED', '@tensorflow/tfjs-node calls functions of node:util that this version of Node no longer has', {
    where,
    remedy: `Run these two lines before it is used:\n${UTIL_SHIM}`,
    cause,
  });
}

/** Throws `ERR_OPTION` for something else than tfjs, such as its version or nothing. */
export function requireTfjs(tf: unknown): void {
  if (typeof tf === 'object' && tf !== null && 'tidy' in tf && 'valueAndGrads' in tf) return;
  throw new PcqatError('ERR_OPTION', 'tf must be the module of tfjs', {
    where: 'tf',
    remedy: "Pass the tf of `import * as tf from '@tensorflow/tfjs'`.",
  });
}
