import { open } from 'node:fs/promises';
import type { Model } from '../../graph/model.js';
import { loadModel } from '../pcqat/load.js';
import { modelPaths } from '../pcqat/paths.js';
import { FORMAT } from '../pcqat/schema.js';
import { importModel } from './index.js';
import type { ImportFormat, ImportOptions } from './types.js';

/** A model from a file of any format that has a graph. */
export interface ReadModel {
  readonly model: Model;
  readonly format: ImportFormat | 'pcqat';
}

/** `saveModel` writes the format first. */
const PCQAT_START = new RegExp(`^\\s*\\{\\s*"format"\\s*:\\s*"${FORMAT}"`);

/** Is it a model that `saveModel` wrote? Its path may lack `.json`, as there. */
export async function isPcqatModel(file: string): Promise<boolean> {
  const head = Buffer.alloc(256);
  try {
    const handle = await open(modelPaths(file).json);
    try {
      await handle.read(head, 0, head.length, 0);
    } finally {
      await handle.close();
    }
  } catch {
    return false;
  }
  return PCQAT_START.test(head.toString('latin1'));
}

/**
 * Reads a model that `saveModel` wrote, or imports one.
 *
 * @throws PcqatError as `loadModel` and `importModel`
 */
export async function readModel(file: string, options: ImportOptions = {}): Promise<ReadModel> {
  if (await isPcqatModel(file)) return { model: await loadModel(file), format: 'pcqat' };
  const { model, format } = await importModel(file, options);
  return { model, format };
}
