export { fromLayersModel, type LayersModelArtifacts, type SavableLayersModel } from './layers-model.js';
export { fitTfjs, type TfjsFitOptions } from './fit.js';
export { loadTfjsNode } from './load-node.js';
export { createTfjsSession, TfjsSession, type TfjsSessionOptions, type TfjsStep } from './session.js';
export type { Tfjs } from './tfjs.js';
export { evaluateTfjs, runTfjs, type LayersModel, type TfjsRunOptions } from '../evaluate/tfjs-runner.js';
