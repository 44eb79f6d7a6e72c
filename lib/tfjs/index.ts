export { fromLayersModel, type LayersModelArtifacts, type SavableLayersModel } from './layers-model.js';
