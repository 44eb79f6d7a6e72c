// Takes a model from another tool through the whole chain: import → prune → cluster → PCQAT → int8 .tflite → verify.
//
//   node examples/compress-imported.mjs FILE --data NAME|FILE.json [options]
//
// See examples/README.md for the options.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import {
  adam,
  arrayDataset,
  clusterWeights,
  convertToFloat,
  Default8BitClusterPreserveQuantizeScheme,
  encodeTflite,
  evaluate,
  evaluateInt8,
  exportInt8,
  fit,
  importModel,
  inferShapes,
  loadDataset,
  polynomialDecay,
  predict,
  projectCodebooks,
  pruneLowMagnitude,
  quantizeAnnotateModel,
  quantizeApply,
  readTflite,
  split,
  stripClustering,
  stripPruning,
  verifyExport,
  writeCHeader,
} from 'pcqat';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string' },
    path: { type: 'string' },
    scale: { type: 'string', default: '1' },
    input: { type: 'string' },
    output: { type: 'string' },
    dequantize: { type: 'boolean', default: false },
    sparsity: { type: 'string', default: '0.5' },
    clusters: { type: 'string', default: '16' },
    epochs: { type: 'string', default: '2' },
    'learning-rate': { type: 'string', default: '1e-4' },
    out: { type: 'string', default: 'compressed.tflite' },
  },
});
const [file] = positionals;
if (file === undefined || options.data === undefined) {
  console.error('usage: node compress-imported.mjs FILE --data NAME|FILE.json [--path FOLDER] [--epochs N] [--out FILE.tflite]');
  process.exit(2);
}

/** The classes that the imported model gives: without labels, the compressed model is measured by how often it agrees. */
async function ownLabels(model, x) {
  const outputs = await predict(model, x);
  const classes = inferShapes(model.graph).get(model.graph.nodes.at(-1).name)[0];
  return Array.from({ length: outputs.length / classes }, (_, row) => {
    const values = outputs.subarray(row * classes, (row + 1) * classes);
    return values.indexOf(Math.max(...values));
  });
}

/** A data set of the library by name, or `{ "x": "features.f32[.gz]", "y": [0, 1, …] }` in a JSON file; `y` may be left out. */
async function loadData(model, inputShape) {
  if (!options.data.endsWith('.json')) return loadDataset(options.data, options.path === undefined ? {} : { path: options.path });
  const { x: file, y } = JSON.parse(await readFile(options.data, 'utf8'));
  const bytes = await readFile(path.resolve(path.dirname(options.data), file));
  const raw = file.endsWith('.gz') ? gunzipSync(bytes) : bytes;
  const x = new Float32Array(new Uint8Array(raw).buffer);
  const scaled = x.map((value) => value * Number(options.scale));
  const data = arrayDataset({ name: path.basename(options.data), x, y: y ?? (await ownLabels(model, scaled)), inputShape });
  return split(data, { test: 0.3 });
}

/** The values as the model wants them: times `--scale`, in its input's shape. */
function prepared(data, inputShape) {
  const factor = Number(options.scale);
  return { ...data, inputShape, x: factor === 1 ? data.x : data.x.map((value) => value * factor) };
}

const percent = (fraction) => `${(100 * fraction).toFixed(2)} %`;

const { model, format } = await importModel(file, {
  dequantize: options.dequantize,
  ...(options.input === undefined ? {} : { input: options.input }),
  ...(options.output === undefined ? {} : { output: options.output }),
});
const { shape } = model.graph.nodes[0];
const parts = await loadData(model, shape);
const [train, validation, test] = [parts.train, parts.validation, parts.test].map((part) => prepared(part, shape));
const epochs = Number(options.epochs);
const optimizer = adam({ learningRate: Number(options['learning-rate']) });
const tune = (stage) => fit(stage, { train, validation, epochs, batchSize: 64, optimizer });
const report = async (stage, what) =>
  console.log(`${what}: ${percent((await evaluate(stage, test)).accuracy)} of ${test.size} test examples`);
console.log(`${format}: ${model.graph.nodes.length} layers`);
await report(model, 'imported');

const steps = epochs * Math.ceil(train.size / 64);
const finalSparsity = Number(options.sparsity);
const schedule = polynomialDecay({
  initialSparsity: 0,
  finalSparsity,
  beginStep: 0,
  endStep: Math.max(1, Math.floor(steps / 2)),
  frequency: Math.max(1, Math.floor(steps / 20)),
});
const pruned = pruneLowMagnitude(model, { schedule });
await tune(pruned);
await report(pruned, `pruned to ${percent(finalSparsity)} zeros`);

const clustered = clusterWeights(stripPruning(pruned), {
  numberOfClusters: Number(options.clusters),
  centroidInit: 'kmeans++',
  preserveSparsity: true,
});
await tune(clustered);
await report(clustered, `clustered to ${options.clusters} values`);

const scheme = new Default8BitClusterPreserveQuantizeScheme({ preserveSparsity: true });
const trained = quantizeApply(quantizeAnnotateModel(stripClustering(clustered)), { scheme });
await tune(trained);
const pcqat = projectCodebooks(trained);
await tune(pcqat);
await report(pcqat, 'PCQAT');

const certificate = await exportInt8(pcqat, options.out, { data: test });
const bytes = await readFile(options.out);
const { accuracy } = await evaluateInt8(readTflite(bytes), test);
const { ok } = await verifyExport(bytes, certificate);
const base = options.out.replace(/\.tflite$/, '');
await writeCHeader(bytes, `${base}.h`, { name: 'compressed_model' });
const original = encodeTflite(convertToFloat(model)).length;
console.log(`int8: ${percent(accuracy)}; ${original} bytes as a float file, ${bytes.length} now; verified: ${ok}`);
console.log(`written: ${options.out}, ${base}.certificate.json, ${base}.h`);
if (!ok) process.exit(1);
