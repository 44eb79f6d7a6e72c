/** Why a layer was not treated as asked, or what to know about how it was. */
export type NoticeCode =
  /** The layer has as few weights as clusters, or fewer; it is not clustered. */
  | 'too-few-weights'
  /** A depthwise kernel is left alone unless `layers` names it. */
  | 'depthwise-not-selected'
  /** The layer carries the technique already and keeps its state. */
  | 'already-treated'
  /** Every weight is zero: there is nothing to rank or to share. */
  | 'all-zero'
  /** Sparsity is to be preserved, but the weight has no zero. */
  | 'no-zeros'
  /** No two weights are equal, so there is no codebook to preserve; the layer gets the chain of an unclustered one. */
  | 'not-clustered'
  /** A {@link LayerPolicy} does not allow the layer; it is not pruned. */
  | 'not-allowed'
  /** One distinct value only: there is no codebook to train. */
  | 'too-few-values'
  /** More distinct values than a codebook can have (1024, or as many clusters as the weight had): the weight was not clustered. */
  | 'too-many-values'
  /** A batch norm scale is negative, so folding it negates codes of that channel: more codes than clusters are possible. */
  | 'negative-gamma';

/** One thing that a technique did not do, or did in another way than asked. Nothing is skipped without one. */
export interface CompressionNotice {
  readonly code: NoticeCode;
  /** Node name. */
  readonly layer: string;
  /** One sentence. */
  readonly message: string;
}

/** Receives every {@link CompressionNotice} of a call, in graph order. */
export type OnNotice = (notice: CompressionNotice) => void;

/** Notices that a caller expects: nothing is lost, so they are not worth a process warning. */
const expected: ReadonlySet<NoticeCode> = new Set([
  'depthwise-not-selected',
  'already-treated',
  'no-zeros',
  'not-clustered',
  'not-allowed',
]);

/** Used when the caller gives no `onNotice`: a Node process warning for what may cost sparsity or clusters. */
export function warnNotice(notice: CompressionNotice): void {
  if (!expected.has(notice.code)) process.emitWarning(`${notice.layer}: ${notice.message}`, { type: 'PcqatWarning', code: notice.code });
}
