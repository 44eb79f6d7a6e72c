/** Ready-made networks with freshly initialised parameters. All end in logits (no softmax). */
export { dsCnn, type DsCnnOptions } from './ds-cnn.js';
export { lenet5, type Lenet5Options } from './lenet5.js';
export { mnistCnn, type MnistCnnOptions } from './mnist-cnn.js';
export { mobilenetV1, type MobilenetV1Options } from './mobilenet-v1.js';
export { resnet8, type Resnet8Options } from './resnet8.js';
