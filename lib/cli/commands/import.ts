import path from 'node:path';
import { PcqatError } from '../../errors.js';
import { checkImport, importModel } from '../../formats/import/index.js';
import { isPcqatModel } from '../../formats/import/read-model.js';
import type { ImportCheck, ImportOptions } from '../../formats/import/types.js';
import { modelPaths } from '../../formats/pcqat/paths.js';
import { saveModel } from '../../formats/pcqat/save.js';
import { countParameters } from '../../graph/model.js';
import { inferShapes } from '../../graph/shapes.js';
import { thousands } from '../../report/format.js';
import { alignColumns } from '../../report/table.js';
import { printable, shortened } from '../input.js';

/** Flags of `pcqat import`. */
export interface ImportCommandOptions extends ImportOptions {
  readonly check?: boolean;
  readonly out?: string;
  readonly json: boolean;
}

/** The readers, for tests to replace. */
export interface Importers {
  readonly importModel: typeof importModel;
  readonly checkImport: typeof checkImport;
}

type Layers = ImportCheck['layers'];

const layerTable = (layers: Layers): string =>
  layers.length === 0
    ? 'no layers'
    : alignColumns([['layer', 'type', 'shape'], ...layers.map(({ name, op, shape }) => [shortened(name), op, shape.join('×')])], 3);

/** A check as text: layers, then what cannot be taken. */
export function checkText(file: string, { format, name, layers, parameters, unsupported }: ImportCheck): string {
  const rows = unsupported.map((node) => [shortened(node.name), ...[node.op, node.reason, node.remedy].map(printable)]);
  const verdict =
    unsupported.length === 0
      ? 'It can be imported.'
      : `${unsupported.length === 1 ? 'One node is' : `${thousands(unsupported.length)} nodes are`} not supported:`;
  return [
    printable(`${file}: ${format} model '${name}', ${layers.length} layers, ${thousands(parameters)} parameters`),
    '',
    layerTable(layers),
    '',
    verdict,
    ...(rows.length === 0 ? [] : ['', alignColumns([['node', 'operator', 'why', 'what to do'], ...rows], 4)]),
  ].join('\n');
}

/** Absent flags stay absent. */
const importOptions = ({ input, output, inputShape, dequantize }: ImportCommandOptions): ImportOptions => ({
  ...(input === undefined ? {} : { input }),
  ...(output === undefined ? {} : { output }),
  ...(inputShape === undefined ? {} : { inputShape }),
  ...(dequantize === undefined ? {} : { dequantize }),
});

/** Where the model goes: beside nothing of the user's. */
function outputPath(file: string, out: string | undefined): string {
  const target = out ?? `${path.parse(path.resolve(file)).name}.pcqat.json`;
  const { json, bin } = modelPaths(target);
  if ([json, bin].some((one) => path.resolve(one) === path.resolve(file))) {
    throw new PcqatError('ERR_OPTION', 'the model would overwrite the file that it is read from', {
      where: target,
      remedy: 'Name another --out.',
    });
  }
  return target;
}

/** `pcqat import <file>`. */
export async function importCommand(
  file: string,
  options: ImportCommandOptions,
  importers: Importers = { importModel, checkImport },
): Promise<void> {
  if (await isPcqatModel(file)) {
    throw new PcqatError('ERR_OPTION', 'it is a model of pcqat already', { where: file, remedy: 'Use it as it is.' });
  }
  const print = (value: object, text: () => string): void => {
    process.stdout.write(`${options.json ? JSON.stringify(value) : text()}\n`);
  };
  if (options.check) {
    const found = await importers.checkImport(file, importOptions(options));
    print(found, () => checkText(file, found));
    if (found.unsupported.length > 0) process.exitCode = 1;
    return;
  }
  const target = outputPath(file, options.out);
  const { model, format, weightScales } = await importers.importModel(file, importOptions(options));
  await saveModel(model, target);
  const { json, bin } = modelPaths(target);
  const shapes = inferShapes(model.graph);
  const layers: Layers = model.graph.nodes.map(({ name, op }) => ({ name, op, shape: shapes.get(name) ?? [] }));
  const summary = {
    format,
    name: model.graph.name,
    layers,
    parameters: countParameters(model),
    dequantized: [...weightScales.keys()],
    files: [json, bin],
  };
  print(summary, () =>
    [
      printable(`${file}: ${format} model '${summary.name}', ${layers.length} layers, ${thousands(summary.parameters)} parameters`),
      ...(weightScales.size === 0 ? [] : [`${weightScales.size} weights were integers and are now real numbers`]),
      '',
      layerTable(layers),
      '',
      json,
      bin,
    ].join('\n'),
  );
}
