import util from 'node:util';
import { PcqatError } from '../errors.js';
import { missingUtil } from './explain.js';
import type { Tfjs } from './tfjs.js';

const NAME = '@tensorflow/tfjs-node';

/**
 * Imports `@tensorflow/tfjs-node` (the TensorFlow C library, a peer that pcqat does not ask for) for `fitTfjs` and `createTfjsSession`.
 *
 * Version 4.22 calls functions of `node:util` that Node 23 removed. pcqat does not change `node:util` for everyone; where they are missing,
 * the error holds the two lines that bring them back.
 *
 * @throws PcqatError `ERR_MISSING_PEER` when it is not installed or does not load, `ERR_UNSUPPORTED` with these two lines.
 *
 * @example
 * ```ts
 * import { PcqatError } from 'pcqat';
 * import { loadTfjsNode } from 'pcqat/tfjs';
 * try {
 *   const tf = await loadTfjsNode();
 *   console.log(tf.getBackend()); // tensorflow
 * } catch (error) {
 *   if (error instanceof PcqatError) console.log(error.code); // ERR_MISSING_PEER where it is not installed
 * }
 * ```
 */
export async function loadTfjsNode(): Promise<Tfjs> {
  const where = NAME;
  const name: string = NAME; // not a literal, so that compiling pcqat does not need the package
  let loaded: { readonly default?: Tfjs } & Tfjs;
  try {
    loaded = (await import(name)) as typeof loaded;
  } catch (cause) {
    throw new PcqatError('ERR_MISSING_PEER', `${NAME} could not be loaded`, {
      where,
      remedy: `Run \`npm install ${NAME} --ignore-scripts=false\`, or use another backend of @tensorflow/tfjs.`,
      cause,
    });
  }
  if (!('isNullOrUndefined' in util)) throw missingUtil(undefined, where);
  return loaded.default ?? loaded;
}
