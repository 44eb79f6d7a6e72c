import { PcqatError } from '../errors.js';
import type { ImportedModel, ImportOptions } from '../formats/import/types.js';
import { assembleLayers, layersConfig, TfjsWeights } from '../formats/tfjs/read-artifacts.js';
import { parseSpecs } from '../formats/tfjs/specs.js';

/** What a tfjs model hands to a save handler, as far as it is read here. */
export interface LayersModelArtifacts {
  readonly modelTopology?: object | ArrayBuffer;
  readonly weightSpecs?: readonly { readonly name: string; readonly shape: readonly number[]; readonly dtype: string }[];
  readonly weightData?: ArrayBuffer | readonly ArrayBuffer[];
}

/** A `LayersModel` or `Sequential` of @tensorflow/tfjs-layers; any object with this method will do. */
export interface SavableLayersModel {
  save(handler: {
    save(artifacts: LayersModelArtifacts): Promise<{ modelArtifactsInfo: { dateSaved: Date; modelTopologyType: 'JSON' } }>;
  }): Promise<unknown>;
}

/**
 * Takes over a live tfjs LayersModel: structure and present weights. The tfjs model is not changed and shares no memory with the result.
 * Layers are read as {@link importModel} reads a tfjs file.
 *
 * @throws UnsupportedNodesError (`ERR_UNSUPPORTED`) listing every layer that cannot be taken
 * @throws PcqatError `ERR_OPTION` for options that do not fit; `ERR_NON_FINITE` for NaN or infinity in weights
 * @example
 * ```ts
 * import { encodeTfjs, zoo } from 'pcqat';
 * import { fromLayersModel, type SavableLayersModel } from 'pcqat/tfjs';
 * // In place of a model of @tensorflow/tfjs-layers.
 * const layersModel: SavableLayersModel = { save: (handler) => handler.save(encodeTfjs(zoo.lenet5())) };
 * const { model } = await fromLayersModel(layersModel);
 * console.log(model.graph.nodes.length);
 * ```
 */
export async function fromLayersModel(model: SavableLayersModel, options: ImportOptions = {}): Promise<ImportedModel> {
  const { assembler, output } = await assembleLive(model, options);
  return { model: assembler.finish(output), format: 'tfjs', weightScales: new Map() };
}

async function assembleLive(model: SavableLayersModel, options: ImportOptions): Promise<ReturnType<typeof assembleLayers>> {
  const where = 'tfjs model';
  let artifacts: LayersModelArtifacts | undefined;
  await model.save({
    save: async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
    },
  });
  if (artifacts === undefined) throw new PcqatError('ERR_FORMAT', 'the model did not hand over its weights', { where });
  const store = new TfjsWeights(where);
  store.add(parseSpecs(artifacts.weightSpecs, where), joined(artifacts.weightData));
  return assembleLayers(layersConfig(artifacts.modelTopology, undefined, where), store, options, where);
}

function joined(data: LayersModelArtifacts['weightData'] = []): Uint8Array {
  const parts = data instanceof ArrayBuffer ? [data] : data;
  return Buffer.concat(parts.map((part) => new Uint8Array(part)));
}
