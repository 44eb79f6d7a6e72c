export { materializeWeight, weightRange, type WeightRange } from './compress/materialize.js';
