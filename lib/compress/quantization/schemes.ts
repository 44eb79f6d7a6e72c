import { PcqatError } from '../../errors.js';
import type { Tensor } from '../../graph/model.js';
import type { ChainFakeQuant, WeightChain } from '../chains.js';
import type { CompressionNotice } from '../notice.js';
import { hasChannelAxis, isSharedByDefault, type WeightedNode } from '../registry.js';
import type { WeightView } from '../state.js';
import { extractCodebook, extractCodebookLikeReference, maxCodebookSize, sharesValues, type ExtractedCodebook } from './unique.js';

/** What a scheme decides for one kernel: its chain, and the state the chain starts from (without ranges). */
export interface WeightPlan {
  readonly chain: WeightChain;
  /** By state name: `mask`, `centroids`, … */
  readonly state: Readonly<Record<string, Tensor>>;
  readonly notices: readonly Omit<CompressionNotice, 'layer'>[];
}

/** How a kernel was clustered before `stripClustering`, if it was. */
export interface ClusterRecord {
  readonly clusters: number;
  readonly perChannel: boolean;
}

/** Decides how `quantizeApply` treats a kernel. Activations are placed the same way by every scheme. */
export interface QuantizeScheme {
  readonly name: string;
  planWeight(node: WeightedNode, weight: WeightView, record: ClusterRecord | undefined): WeightPlan;
}

/** Options of every scheme. */
export interface SchemeOptions {
  /** One range for a whole convolution kernel instead of one per channel. Default `false`. */
  readonly disablePerAxis?: boolean;
}

/**
 * Plain 8-bit quantization-aware training (spec section 3): kernels are fake-quantized symmetrically to 8 bits, convolutions per
 * channel (depthwise: per depth multiplier), dense layers and transposed convolutions per tensor. Zeros and shared values are not preserved.
 *
 * @example
 * ```ts
 * import { Default8BitQuantizeScheme, quantizeAnnotateModel, quantizeApply, zoo } from 'pcqat';
 * const annotated = quantizeAnnotateModel(zoo.lenet5());
 * console.log(quantizeApply(annotated, { scheme: new Default8BitQuantizeScheme() }).chains.get('conv1/kernel')?.technique); // qat
 * ```
 */
export class Default8BitQuantizeScheme implements QuantizeScheme {
  readonly name: string = 'Default8BitQuantizeScheme';
  protected readonly disablePerAxis: boolean;

  constructor(options: SchemeOptions = {}) {
    this.disablePerAxis = options.disablePerAxis ?? false;
  }

  planWeight(node: WeightedNode, _weight: WeightView, _record: ClusterRecord | undefined): WeightPlan {
    return { chain: { technique: 'qat', fakeQuant: this.fakeQuant(node) }, state: {}, notices: [] };
  }

  protected fakeQuant(node: WeightedNode): ChainFakeQuant {
    return { bits: 8, perChannel: hasChannelAxis(node) && !this.disablePerAxis };
  }
}

/**
 * Prune-preserving quantization-aware training, PQAT (spec 4.3): weights that are zero now stay zero, ŵ = FQ(w ⊙ M). The mask is
 * part of the model's state, so preservation survives saving (fixes W12). Depthwise kernels that have zeros keep them too (W11).
 *
 * @example
 * ```ts
 * import { Default8BitPrunePreserveQuantizeScheme, quantizeAnnotateModel, quantizeApply, zoo } from 'pcqat';
 * const model = zoo.lenet5();
 * model.tensors.get('conv1/kernel')?.data.fill(0, 0, 10);
 * const scheme = new Default8BitPrunePreserveQuantizeScheme();
 * console.log(quantizeApply(quantizeAnnotateModel(model), { scheme }).chains.get('conv1/kernel')?.technique); // pqat
 * ```
 */
export class Default8BitPrunePreserveQuantizeScheme extends Default8BitQuantizeScheme {
  override readonly name: string = 'Default8BitPrunePreserveQuantizeScheme';

  override planWeight(node: WeightedNode, weight: WeightView, record: ClusterRecord | undefined): WeightPlan {
    if (!weight.data.includes(0)) {
      const notice = { code: 'no-zeros', message: 'The kernel has no zero to preserve.' } as const;
      return { ...super.planWeight(node, weight, record), notices: isSharedByDefault(node) ? [notice] : [] };
    }
    return {
      chain: { technique: 'pqat', mask: { writeBack: false, maskGradient: true }, fakeQuant: this.fakeQuant(node) },
      state: { mask: nonZeroMask(weight) },
      notices: [],
    };
  }
}

/** Options of {@link Default8BitClusterPreserveQuantizeScheme}. */
export interface ClusterPreserveOptions extends SchemeOptions {
  /** Keep zeros as well (PCQAT), decided per layer: one without zeros becomes CQAT. Default `true`, as in the reference. */
  readonly preserveSparsity?: boolean;
  /**
   * Range of a clustered convolution kernel. `tensor`: one, so that the K values stay at most K int8 codes in the whole tensor;
   * `channel`: one per output channel, finer, but K values become up to K × channels codes (W14).
   * Default: `tensor` for one codebook, `channel` for a codebook per channel.
   */
  readonly weightScale?: 'tensor' | 'channel';
  /**
   * `recorded` (default): one codebook per channel only if the weight was clustered so. `reference`: the reference's guess from
   * the numbers of distinct values, its padding and its zero centroids (W4–W7), for comparison with it.
   */
  readonly codebook?: 'recorded' | 'reference';
}

/**
 * Cluster-preserving quantization-aware training: CQAT, and PCQAT with `preserveSparsity` (spec 4.4, 4.5). The distinct values of
 * a stripped clustered kernel become a codebook that trains on: ŵ = FQ((C ⊙ Mc)[nearest(w ⊙ M)]).
 *
 * A kernel without a codebook (never clustered; unless `stripClustering` left a record: one value, or more than 1024) gets the
 * prune-preserving or the plain chain, with a notice. Decided per layer: a layer without zeros changes nothing for the others (fixes W2).
 *
 * @example
 * ```ts
 * import { clusterWeights, Default8BitClusterPreserveQuantizeScheme, quantizeAnnotateModel, quantizeApply, stripClustering, zoo } from 'pcqat';
 * const clustered = clusterWeights(zoo.lenet5(), { numberOfClusters: 16 });
 * const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: false });
 * const cqat = quantizeApply(quantizeAnnotateModel(stripClustering(clustered)), { scheme });
 * console.log(cqat.tensors.get('conv1/kernel:centroids')?.shape); // [ 16 ]
 * ```
 */
export class Default8BitClusterPreserveQuantizeScheme extends Default8BitPrunePreserveQuantizeScheme {
  override readonly name: string = 'Default8BitClusterPreserveQuantizeScheme';
  private readonly preserveSparsity: boolean;
  private readonly weightScale: 'tensor' | 'channel' | undefined;
  private readonly codebook: 'recorded' | 'reference';

  constructor(options: ClusterPreserveOptions = {}) {
    super(options);
    const { preserveSparsity = true, weightScale, codebook = 'recorded' } = options;
    requireOneOf('weightScale', weightScale, ['tensor', 'channel', undefined]);
    requireOneOf('codebook', codebook, ['recorded', 'reference']);
    this.preserveSparsity = preserveSparsity;
    this.weightScale = weightScale;
    this.codebook = codebook;
  }

  override planWeight(node: WeightedNode, weight: WeightView, record: ClusterRecord | undefined): WeightPlan {
    const plain = this.preserveSparsity ? super.planWeight(node, weight, record) : this.unpreserved(node);
    const { mask } = plain.state;
    if (!isSharedByDefault(node) && record === undefined) return plain;
    const like = this.codebook === 'reference';
    // A weight that was clustered has as many values as was asked for, few or many; without a record, counting has to tell.
    const most = like ? maxCodebookSize : Math.max(maxCodebookSize, record?.clusters ?? 0);
    const book = like
      ? extractCodebookLikeReference(weight, node.op === 'conv2d')
      : extractCodebook(weight, record?.perChannel ?? false, most);
    if (book.k <= 1 && (like || record === undefined))
      return withNotice(plain, 'too-few-values', 'The kernel has one distinct value: there is no codebook to train.');
    if (!like && record === undefined && !sharesValues(weight.data)) {
      return withNotice(plain, 'not-clustered', 'The kernel was not clustered: no two weights are equal.');
    }
    if (book.k > most) {
      return withNotice(
        plain,
        'too-many-values',
        `The kernel has more distinct values than the ${most} of a codebook: clusters are not preserved.`,
      );
    }
    return {
      chain: {
        technique: mask === undefined ? 'cqat' : 'pcqat',
        ...(mask === undefined ? {} : { mask: { writeBack: true, maskGradient: false } }),
        codebook: { perChannel: book.perChannel, aggregation: 'sum', ...(mask === undefined ? {} : { zeroPin: 'index' }) },
        fakeQuant: this.codebookFakeQuant(node, book),
      },
      state: {
        ...plain.state,
        ...codebookState(weight, book),
        ...(mask === undefined ? {} : { zero_index: { shape: [book.zeroIndex.length], data: book.zeroIndex } }),
      },
      notices: plain.notices,
    };
  }

  /** The plain chain: with `preserveSparsity` off, zeros of the kernel are not looked at. */
  private unpreserved(node: WeightedNode): WeightPlan {
    return { chain: { technique: 'qat', fakeQuant: this.fakeQuant(node) }, state: {}, notices: [] };
  }

  private codebookFakeQuant(node: WeightedNode, book: ExtractedCodebook): ChainFakeQuant {
    const scale = this.weightScale ?? (book.perChannel ? 'channel' : 'tensor');
    const plain = this.fakeQuant(node);
    return scale === 'tensor' ? { ...plain, perChannel: false } : plain;
  }
}

function nonZeroMask(weight: WeightView): Tensor {
  return { shape: weight.shape, data: Uint8Array.from(weight.data, (value) => (value !== 0 ? 1 : 0)) };
}

function codebookState(weight: WeightView, book: ExtractedCodebook): Record<string, Tensor> {
  return {
    centroids: { shape: book.perChannel ? [weight.channels, book.k] : [book.k], data: book.centroids },
    indices: { shape: weight.shape, data: new Int32Array(weight.data.length) },
  };
}

function withNotice(plan: WeightPlan, code: CompressionNotice['code'], message: string): WeightPlan {
  return { ...plan, notices: [...plan.notices, { code, message }] };
}

function requireOneOf(field: string, value: unknown, allowed: readonly unknown[]): void {
  if (!allowed.includes(value)) {
    const names = allowed.filter((name) => name !== undefined).map((name) => `'${String(name)}'`);
    throw new PcqatError('ERR_OPTION', `${field} is ${String(value)} but must be ${names.join(' or ')}`, {
      where: `Default8BitClusterPreserveQuantizeScheme.${field}`,
    });
  }
}
