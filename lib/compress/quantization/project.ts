import { PcqatError } from '../../errors.js';
import type { Model } from '../../graph/model.js';
import { slicesOf } from '../clustering/channels.js';
import { materializeWeight, pinnedCentroids, rangeOf } from '../materialize.js';
import { warnNotice, type OnNotice } from '../notice.js';
import { mergeValues } from './merge-values.js';
import { draftOf, weightOf, type ModelDraft } from '../state.js';
import { roundHalfAway } from './parameters.js';

/** Options of {@link projectCodebooks}. */
export interface ProjectOptions {
  /**
   * Shared values that training has brought close together become one, while the signal-to-noise ratio of the kernel stays at this many dB:
   * fewer codes, a smaller file. Default 35 (sharing values at all costs far more); `Infinity` joins none.
   */
  readonly minimumSnr?: number;
  /** Told which codebooks cannot be projected. Default: a process warning. */
  readonly onNotice?: OnNotice;
}

/**
 * Significant bits of a code scale. A code has 7 bits and the widths of a range 8, so every product of the two is exact in f32: fake
 * quantization of a projected kernel returns it bit for bit, whatever the order of operations.
 */
const SCALE_BITS = 16;

/**
 * Puts the codebooks of CQAT and PCQAT on the integer grid: each centroid becomes code × scale, exactly, and stays there. Assignments,
 * codes and scales are fixed from then on; `fit` re-tunes what is left (biases, batch norms, kernels without codebook, activation ranges).
 * The used kernel is then its own fake quantization, so the codes that the simulation uses are the codes in the exported file.
 *
 * First, values that are almost equal are joined (`minimumSnr`); no weight becomes zero or stops being it. The scale is rounded to 16 significant bits (a relative change of at most 2⁻¹⁷). A codebook for the whole tensor whose kernel has a scale
 * per channel (`weightScale: 'channel'`) has no common grid and is left as it is, with a notice. A second call changes nothing.
 *
 * @returns a new model, without optimizer state
 * @throws {@link PcqatError} `ERR_OPTION`, `ERR_INVARIANT` when chain state is missing
 * @example
 * ```ts
 * import { clusterWeights, Default8BitClusterPreserveQuantizeScheme, projectCodebooks, quantizeModel, stripClustering, zoo } from 'pcqat';
 * const clustered = stripClustering(clusterWeights(zoo.lenet5(), { numberOfClusters: 16 }));
 * const cqat = quantizeModel(clustered, { scheme: new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false }) });
 * const projected = projectCodebooks(cqat);
 * console.log(projected.chains.get('conv1/kernel')?.codebook?.frozen); // true
 * ```
 */
export function projectCodebooks(model: Model, options: ProjectOptions = {}): Model {
  const { onNotice = warnNotice, minimumSnr = 35 } = options;
  if (typeof minimumSnr !== 'number' || !(minimumSnr >= 0)) {
    const where = 'projectCodebooks.minimumSnr';
    throw new PcqatError('ERR_OPTION', `minimumSnr is ${String(minimumSnr)} but must be decibels of at least 0`, { where });
  }
  const draft = draftOf(model);
  for (const [parameter, { codebook, fakeQuant }] of model.chains) {
    if (codebook === undefined || fakeQuant === undefined || codebook.frozen === true) continue;
    // Other ranges have no grid that int8 weights could lie on; `convertToInt8` refuses them.
    if (fakeQuant.symmetric === false || fakeQuant.narrowRange === false || (fakeQuant.update ?? 'lastValue') !== 'lastValue') continue;
    if (fakeQuant.perChannel && !codebook.perChannel) {
      const message = 'Its codebook is for the whole tensor but its scales are per channel, so there is no common grid; it stays as it is.';
      onNotice({ code: 'no-common-grid', layer: parameter.slice(0, parameter.lastIndexOf('/')), message });
      continue;
    }
    projectWeight(draft, model, parameter, minimumSnr);
  }
  return draft;
}

function projectWeight(draft: ModelDraft, model: Model, parameter: string, minimumSnr: number): void {
  const chain = model.chains.get(parameter);
  if (chain?.codebook === undefined || chain.fakeQuant === undefined) return;
  const { codebook, fakeQuant } = chain;
  const { shape, channels } = weightOf(model, parameter);
  const bookChannels = codebook.perChannel ? channels : 0;
  const trained = materializeWeight(model, parameter);
  const merged = slicesOf(trained, bookChannels).map((slice) => mergeValues(slice, minimumSnr));
  const join = (value: number, row: number): number => merged[bookChannels === 0 ? 0 : row]?.get(value) ?? value;
  const used = trained.map((value, i) => join(value, i % channels));
  const rows = fakeQuant.perChannel ? channels : 0;
  const largestCode = 2 ** (fakeQuant.bits - 1) - 1;
  const scales = Array.from(rangeOf(used, rows).max, (a) => roundToBits(a / largestCode, SCALE_BITS));
  const project = (value: number, channel: number): number => {
    const scale = scales[rows === 0 ? 0 : channel] ?? 0;
    // A centroid that no weight uses may lie outside the range of the others.
    const code = scale === 0 ? 0 : Math.min(Math.max(roundHalfAway(value / scale), -largestCode), largestCode);
    return code * scale + 0; // never −0
  };
  const centroids = pinnedCentroids(model, parameter, codebook);
  const k = centroids.length / (bookChannels || 1);
  const range = Float32Array.from(scales, (scale) => largestCode * scale);
  const set = (name: string, length: readonly number[], data: Float32Array): void => void draft.tensors.set(name, { shape: length, data });
  set(
    `${parameter}:centroids`,
    bookChannels === 0 ? [k] : [channels, k],
    centroids.map((value, i) => project(join(value, Math.floor(i / k)), Math.floor(i / k))),
  );
  // The stored weight lies on its centroid, so the assignment is fixed too.
  set(
    parameter,
    shape,
    used.map((value, i) => project(value, i % channels)),
  );
  set(`${parameter}:max`, [range.length], range);
  set(
    `${parameter}:min`,
    [range.length],
    range.map((value) => 0 - value),
  );
  draft.chains.set(parameter, { ...chain, codebook: { ...codebook, frozen: true } });
}

/** Nearest number with so many significant bits. */
function roundToBits(value: number, bits: number): number {
  if (value === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(value)) + 1 - bits);
  return Math.round(value / unit) * unit;
}
