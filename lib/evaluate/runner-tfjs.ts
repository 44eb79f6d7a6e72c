import { PcqatError } from '../errors.js';
import { elementCount } from '../graph/shapes.js';
import type { Shape } from '../graph/types.js';
import { loadIfInstalled, missingPeer, packageVersion } from './peer.js';
import { checkedRowCount, portions } from './rows.js';
import type { OpenRunnerOptions, Runner } from './runner.js';
import { readArtifacts } from './tfjs-artifacts.js';

/** Rows at a time. */
const ROWS = 64;

interface TfTensor {
  readonly shape: readonly number[];
  data(): Promise<Float32Array>;
  dispose(): void;
}

interface TfModel {
  readonly inputs: readonly { readonly shape?: readonly (number | null)[]; readonly name: string }[];
  predict(x: TfTensor): TfTensor | readonly TfTensor[] | Readonly<Record<string, TfTensor>>;
  dispose(): void;
}

/** The part of tfjs that is used, from whichever packages there are. */
interface Tf {
  readonly name: string;
  tensor(values: Float32Array, shape: readonly number[]): TfTensor;
  loadLayersModel?(handler: object): Promise<TfModel>;
  loadGraphModel?(handler: object): Promise<TfModel>;
}

/** `@tensorflow/tfjs-node` or `@tensorflow/tfjs`; else the packages that they are made of, on the CPU backend. */
async function loadTf(part: 'tfjs-layers' | 'tfjs-converter'): Promise<Tf> {
  for (const name of ['@tensorflow/tfjs-node', '@tensorflow/tfjs']) {
    const whole = await loadIfInstalled<{ default?: Tf } & Tf>(name);
    if (whole !== undefined) return { ...(whole.default ?? whole), name: `${name} ${packageVersion(name)}`.trim() };
  }
  const core = await loadIfInstalled<Tf & { ready(): Promise<void>; setBackend(name: string): Promise<boolean> }>('@tensorflow/tfjs-core');
  const backend = await loadIfInstalled('@tensorflow/tfjs-backend-cpu');
  const loader = await loadIfInstalled<Pick<Tf, 'loadLayersModel' | 'loadGraphModel'>>(`@tensorflow/${part}`);
  if (core === undefined || backend === undefined || loader === undefined) {
    throw missingPeer('@tensorflow/tfjs', "the runner 'tfjs'");
  }
  await core.setBackend('cpu');
  const { loadLayersModel, loadGraphModel } = loader;
  return {
    name: `@tensorflow/${part} ${packageVersion(`@tensorflow/${part}`)} (cpu)`,
    tensor: core.tensor,
    ...(loadLayersModel === undefined ? {} : { loadLayersModel }),
    ...(loadGraphModel === undefined ? {} : { loadGraphModel }),
  };
}

/**
 * Opens a layers or graph model in tfjs.
 *
 * @throws PcqatError `ERR_MISSING_PEER`, `ERR_IO`, `ERR_FORMAT`, `ERR_UNSUPPORTED`, `ERR_SHAPE`
 */
export async function openTfjs(file: string, { exampleShape }: OpenRunnerOptions): Promise<Runner> {
  const artifacts = await readArtifacts(file);
  const isGraph = artifacts.format === 'graph-model' || artifacts.modelTopology['node'] !== undefined;
  const tf = await loadTf(isGraph ? 'tfjs-converter' : 'tfjs-layers');
  const handler = { load: () => Promise.resolve(artifacts) };
  const failure = (what: string) => (cause: unknown) => {
    throw new PcqatError('ERR_UNSUPPORTED', `tfjs could not ${what}: ${(cause as Error).message.split('\n')[0]?.slice(0, 500)}`, {
      where: file,
      cause,
    });
  };
  const load = isGraph ? tf.loadGraphModel : tf.loadLayersModel;
  if (load === undefined) throw missingPeer('@tensorflow/tfjs', "the runner 'tfjs'");
  const model = await load(handler).catch(failure('load the model'));
  try {
    const inputShape = shapeOf(model, exampleShape, file);
    const runRows = async (x: Float32Array): Promise<{ values: Float32Array; shape: readonly number[] }> => {
      const input = tf.tensor(x, [x.length / elementCount(inputShape), ...inputShape]);
      try {
        const result = model.predict(input);
        const outputs = 'data' in result && typeof result.data === 'function' ? [result as TfTensor] : Object.values(result as object);
        const output = outputs[0] as TfTensor;
        const values = Float32Array.from(await output.data());
        for (const one of outputs as TfTensor[]) one.dispose();
        return { values, shape: output.shape };
      } finally {
        input.dispose();
      }
    };
    const probe = await runRows(new Float32Array(elementCount(inputShape))).catch(failure('run the model'));
    const outputShape = probe.shape.slice(1);
    const outputSize = elementCount(outputShape);
    return {
      name: tf.name,
      inputShape,
      outputShape,
      run: async (x, { signal } = {}) => {
        const outputs = new Float32Array(checkedRowCount(x, inputShape) * outputSize);
        let at = 0;
        for (const part of portions(x, elementCount(inputShape), ROWS)) {
          signal?.throwIfAborted();
          const { values } = await runRows(part).catch(failure('run the model'));
          outputs.set(values, at);
          at += values.length;
        }
        return outputs;
      },
      dispose: () => model.dispose(),
    };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

function shapeOf(model: TfModel, exampleShape: Shape | undefined, where: string): Shape {
  if (model.inputs.length !== 1) throw new PcqatError('ERR_UNSUPPORTED', `it has ${model.inputs.length} inputs and not one`, { where });
  const shape = model.inputs[0]?.shape?.slice(1);
  if (shape?.every((dimension) => typeof dimension === 'number' && dimension > 0)) return shape as number[];
  if (exampleShape !== undefined) return exampleShape;
  throw new PcqatError('ERR_SHAPE', 'the model leaves the shape of its input open', {
    where,
    remedy: 'Say what shape an example has (`exampleShape`).',
  });
}
