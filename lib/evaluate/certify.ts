import type { Dataset } from '../data/types.js';
import { PcqatError } from '../errors.js';
import { describeFile, type FileContent, sha256 } from '../formats/certificate/describe.js';
import { type ExportCertificate, FORMAT, PROBE_BYTES, PROBE_ROWS, VERSION } from '../formats/certificate/schema.js';
import type { Model } from '../graph/model.js';
import { nativeInfo } from '../native.js';
import { AgreementSum, checkedRows } from './agreement.js';
import { certifyLayers } from './certify-layers.js';
import { measureAgreement } from './fidelity.js';
import { findForeignRuntime, type ForeignRuntime, type ForeignRuntimeName, type FoundRuntime, loadForeignRuntime } from './foreign.js';
import { dequantize, type Int8Options, Int8Runner, quantize } from './int8.js';
import { probeDifferences, toBase64 } from './probe.js';
import { compareLayers, type LayerDifference } from './simulation.js';

/** Options of {@link certifyExport}. */
export interface CertifyOptions extends Int8Options {
  /** Inputs that the fidelity is measured on, e.g. the test part. Its first rows become the probe. Labels are not used. */
  readonly data: Dataset;
  /**
   * The model with its chains still on, for technique, clusters and zeros before the export. Default: `model`. Differs from it where
   * `stripPruning` or `stripClustering` came before the export.
   */
  readonly before?: Model;
  /**
   * Another runtime to compare with. `'auto'`: one that is installed, else none; `'none'`: none; a name: that one, or an error where it is
   * not installed. One that fails leaves its reason in the certificate. Default `'auto'`.
   */
  readonly foreign?: 'auto' | 'none' | ForeignRuntimeName | ForeignRuntime;
}

type FidelityFacts = ExportCertificate['fidelity'];

/** The file's input and our executor's output for the first rows of the data. */
interface Executed {
  readonly input: Int8Array;
  readonly output: Int8Array;
  /** Of them in the probe. */
  readonly probeRows: number;
}

/** Rows of the data that a foreign runtime is given: it runs them one by one. */
const FOREIGN_ROWS = 256;

/**
 * The certificate of an exported file: what every layer, tensor and operator of it holds, how many zeros and codes were kept, and how near
 * the file is to the model that was trained and to another runtime. `verifyExport` derives it again from the bytes.
 * The same model, file and data give the same certificate, whatever the number of threads.
 *
 * @param model - that was exported
 * @param bytes - the file, read back
 * @throws PcqatError `ERR_FORMAT`, `ERR_UNSUPPORTED` for bytes that are no int8 model; `ERR_INVARIANT` naming a layer where they are not
 *   this model's; `ERR_EMPTY_DATA`, `ERR_SHAPE`, `ERR_NON_FINITE` for bad data; `ERR_MISSING_PEER` for a foreign runtime asked for by name
 * @example
 * ```ts
 * import { certifyExport, convertToInt8, encodeTflite, verifyExport, zoo } from 'pcqat';
 * const x = Float32Array.from({ length: 4 * 784 }, (_, i) => Math.sin(i));
 * const data = { name: 'sine', size: 4, inputShape: [28, 28, 1], x, y: new Int32Array(4) };
 * const model = zoo.lenet5();
 * const bytes = encodeTflite(await convertToInt8(model, { representativeData: data }));
 * const certificate = await certifyExport(model, bytes, { data });
 * console.log((await verifyExport(bytes, certificate)).ok); // true
 * ```
 */
export async function certifyExport(model: Model, bytes: Uint8Array, options: CertifyOptions): Promise<ExportCertificate> {
  const { data, before = model, foreign = 'auto', ...running } = options;
  const runtime = findRuntime(foreign);
  const content = describeFile(bytes);
  const runner = new Int8Runner(content.model, running);
  try {
    const executed = await execute(runner, data);
    const { input, output, probeRows } = executed;
    const simulated = await compareSimulation(model, content, data, executed, runner, running);
    const layers = certifyLayers(before, content, simulated.layers);
    return {
      format: FORMAT,
      version: VERSION,
      pcqat: nativeInfo().version,
      file: { sha256: sha256(bytes), bytes: bytes.byteLength },
      inputs: content.inputs,
      outputs: content.outputs,
      layers,
      tensors: content.tensors,
      operators: content.operators,
      fidelity: {
        data: data.name,
        probe: {
          rows: probeRows,
          input: toBase64(input.subarray(0, probeRows * runner.inputSize)),
          output: toBase64(output.subarray(0, probeRows * runner.outputSize)),
        },
        ...simulated.facts,
        ...(await compareForeign(runtime, bytes, executed, runner, options.signal)),
      },
    };
  } finally {
    runner.dispose();
  }
}

function findRuntime(foreign: NonNullable<CertifyOptions['foreign']>): FoundRuntime {
  if (foreign === 'auto') return findForeignRuntime();
  if (foreign === 'none') return { missing: 'none was asked for' };
  return { runtime: typeof foreign === 'string' ? loadForeignRuntime(foreign) : foreign };
}

async function execute(runner: Int8Runner, data: Dataset): Promise<Executed> {
  const { input, inputSize, output } = runner;
  if (input.dtype !== 'int8' || output.dtype !== 'int8') {
    throw new PcqatError('ERR_UNSUPPORTED', `input and output are ${input.dtype} and ${output.dtype}, but a certificate needs int8`, {
      where: `tensors '${input.name}' and '${output.name}'`,
    });
  }
  const size = checkedRows(data, inputSize);
  const codes = quantize(data.x.subarray(0, Math.min(size, FOREIGN_ROWS) * inputSize), input) as Int8Array;
  const probeRows = Math.min(size, PROBE_ROWS, Math.max(1, Math.floor(PROBE_BYTES / inputSize)));
  return { input: codes, output: (await runner.runQuantized(codes)) as Int8Array, probeRows };
}

async function compareSimulation(
  model: Model,
  { model: tflite }: FileContent,
  data: Dataset,
  { input, output, probeRows }: Executed,
  { inputSize, outputSize, output: tensor }: Int8Runner,
  running: Int8Options,
): Promise<{ readonly facts: Pick<FidelityFacts, 'simulation' | 'simulationMissing'>; readonly layers: readonly LayerDifference[] }> {
  if (model.quantizers.size === 0) {
    const simulationMissing = 'the model has no fake quantization: it was quantized after training';
    return { facts: { simulation: null, simulationMissing }, layers: [] };
  }
  const { outputs, layers } = await compareLayers(model, tflite, input.subarray(0, probeRows * inputSize), running);
  const { fakeQuant, ...agreement } = await measureAgreement(model, tflite, data, running);
  const simulation = {
    output: toBase64(outputs),
    ...probeDifferences(tensor, output.subarray(0, probeRows * outputSize), outputs),
    data: agreement,
    fakeQuant,
  };
  return { facts: { simulation, simulationMissing: null }, layers };
}

async function compareForeign(
  found: FoundRuntime,
  bytes: Uint8Array,
  { input, output, probeRows }: Executed,
  { outputSize, output: tensor }: Int8Runner,
  signal: AbortSignal | undefined,
): Promise<Pick<FidelityFacts, 'foreign' | 'foreignMissing'>> {
  if ('missing' in found) return { foreign: null, foreignMissing: found.missing };
  const { runtime } = found;
  try {
    const other = await runtime.run(bytes, input, signal === undefined ? {} : { signal });
    if (!(other instanceof Int8Array) || other.length !== output.length) throw new Error('it returned outputs of another length or type');
    const probe = probeRows * outputSize;
    const foreign = {
      name: runtime.name,
      version: runtime.version,
      output: toBase64(other.subarray(0, probe)),
      ...probeDifferences(tensor, output.subarray(0, probe), other.subarray(0, probe)),
      data: new AgreementSum(tensor, outputSize).add(dequantize(output, tensor), dequantize(other, tensor)).result(),
    };
    return { foreign, foreignMissing: null };
  } catch (error) {
    // The export is finished and good; only the comparison is lost.
    signal?.throwIfAborted();
    const reason = error instanceof Error ? error.message : String(error);
    return { foreign: null, foreignMissing: `${runtime.name} ${runtime.version} failed: ${reason}`.slice(0, 2000) };
  }
}
