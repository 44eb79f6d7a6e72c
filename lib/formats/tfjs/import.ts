import { PcqatError } from '../../errors.js';
import type { Assembled, ImportOptions } from '../import/types.js';

/** Not written yet. */
export async function assembleTfjs(path: string, _options: ImportOptions): Promise<Assembled> {
  throw new PcqatError('ERR_UNSUPPORTED', 'this format cannot be imported yet', { where: path });
}
