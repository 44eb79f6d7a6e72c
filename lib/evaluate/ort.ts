import { PcqatError } from '../errors.js';
import { loadIfInstalled, missingPeer } from './peer.js';

/** The package that runs ONNX files. */
export const ORT_PACKAGE = 'onnxruntime-node';

export interface OrtTensor {
  readonly data: unknown;
  readonly dims: readonly number[];
}

/** What a session says of an input. */
export interface OrtMetadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type?: string;
  readonly shape?: readonly (number | string)[];
}

export interface OrtSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata?: readonly OrtMetadata[];
  run(feeds: Readonly<Record<string, OrtTensor>>): Promise<Readonly<Record<string, OrtTensor>>>;
  release(): Promise<void>;
}

/** The part of onnxruntime-node that is used. */
export interface Ort {
  readonly InferenceSession: { create(file: string | Uint8Array, options: object): Promise<OrtSession> };
  readonly Tensor: new (type: string, data: Float32Array | Int8Array | Uint8Array, dims: readonly number[]) => OrtTensor;
}

/** @throws PcqatError `ERR_MISSING_PEER` where onnxruntime-node is not installed */
export async function loadOrt(purpose: string): Promise<Ort> {
  const loaded = await loadIfInstalled<Partial<Ort> & { readonly default?: Ort }>(ORT_PACKAGE);
  if (loaded === undefined) throw missingPeer(ORT_PACKAGE, purpose);
  return loaded.InferenceSession === undefined && loaded.default !== undefined ? loaded.default : (loaded as Ort);
}

/**
 * Opens a file by its path, as tensors may lie in files beside it, or its bytes.
 *
 * @throws PcqatError `ERR_UNSUPPORTED` when ONNX Runtime refuses it
 */
export async function openOrtSession(ort: Ort, file: string | Uint8Array, where: string, options: object): Promise<OrtSession> {
  try {
    return await ort.InferenceSession.create(file, { executionProviders: ['cpu'], logSeverityLevel: 4, ...options }); // errors come as exceptions
  } catch (cause) {
    throw refused('load', where, cause);
  }
}

/**
 * The output of a session with one input and one output.
 *
 * @throws PcqatError `ERR_UNSUPPORTED` when ONNX Runtime cannot run it
 */
export async function runOrtSession(session: OrtSession, input: OrtTensor, where: string): Promise<OrtTensor> {
  const [inputName = '', outputName = ''] = [session.inputNames[0], session.outputNames[0]];
  let outputs: Readonly<Record<string, OrtTensor>>;
  try {
    outputs = await session.run({ [inputName]: input });
  } catch (cause) {
    throw refused('run', where, cause);
  }
  const output = outputs[outputName];
  if (output === undefined) throw new PcqatError('ERR_UNSUPPORTED', 'it has no output', { where });
  return output;
}

function refused(what: 'load' | 'run', where: string, cause: unknown): PcqatError {
  const [line = ''] = (cause as Error).message.split('\n');
  return new PcqatError('ERR_UNSUPPORTED', `${ORT_PACKAGE} could not ${what} the file: ${line.slice(0, 500)}`, { where, cause });
}
