export { fitTfjs, type TfjsFitOptions } from './fit.js';
