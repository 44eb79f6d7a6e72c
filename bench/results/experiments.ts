import type { ColumnName, RecipeInput } from '#lib/index.js';

/** A goal that the mean over the seeds must reach, or every seed where it says so. */
export type Goal =
  /** INT8 accuracy of PCQAT at most so many points under the float accuracy of the equally trained baseline. */
  | { readonly kind: 'accuracy'; readonly points: number }
  /** Every pruned layer has at least this fraction of zeros, at every seed. */
  | { readonly kind: 'zeros'; readonly fraction: number }
  /** Every layer has at most so many distinct codes in the whole tensor, at every seed. */
  | { readonly kind: 'codes'; readonly most: number }
  /** gzip bytes of PCQAT as a fraction of those of the INT8 baseline. */
  | { readonly kind: 'bytes'; readonly fraction: number }
  /** PCQAT is the smallest file of the table, at every seed. */
  | { readonly kind: 'smallest' }
  /** Simulation and file agree in arg-max on this fraction of the test set, and differ by less than so many steps on average. */
  | { readonly kind: 'fidelity'; readonly agreement: number; readonly steps: number };

/** A target in place of the recipe's, for the curve of accuracy against sparsity and clusters. */
export interface CurvePoint {
  readonly sparsity: number;
  readonly clusters: number;
}

/** One row of docs/results.md: a recipe and what it must show. */
export interface Experiment {
  readonly name: string;
  readonly title: string;
  /** The folder of `--data` is put in for `$data`. */
  readonly recipe: RecipeInput;
  readonly goals: readonly Goal[];
  /** What `--curve` runs besides, with the first seed. */
  readonly curve?: readonly CurvePoint[];
}

const fidelity: Goal = { kind: 'fidelity', agreement: 0.999, steps: 1 };
const two: readonly ColumnName[] = ['baseline', 'pcqat'];

const spokenDigits = {
  model: 'ds-cnn-l',
  data: { name: 'fsdd' },
  epochs: 20,
  sparsity: 0.5,
  augment: { shift: [4, 0], noise: 0.05 },
} satisfies RecipeInput;
const cifar = { name: 'cifar10', path: '$data/cifar10-subset' } as const;
const photographs = { flip: true, shift: [4, 4] } satisfies RecipeInput['augment'];

/** The numbers that the project promises. */
export const experiments: readonly Experiment[] = [
  {
    name: 'ds-cnn-l-16',
    title: 'DS-CNN-L, spoken digits, 50 % zeros, 16 clusters',
    recipe: { ...spokenDigits, epochs: 30, clusters: 16, outputs: { columns: [...two] } },
    goals: [{ kind: 'accuracy', points: 0.3 }, { kind: 'zeros', fraction: 0.5 }, { kind: 'codes', most: 16 }, fidelity],
  },
  {
    name: 'ds-cnn-l-16-bf16',
    title: 'The same with backward products in bfloat16 (`gradients: bf16`)',
    recipe: { ...spokenDigits, epochs: 30, clusters: 16, gradients: 'bf16', outputs: { columns: [...two] } },
    goals: [{ kind: 'accuracy', points: 0.3 }, { kind: 'zeros', fraction: 0.5 }, { kind: 'codes', most: 16 }, fidelity],
  },
  {
    name: 'ds-cnn-l-8',
    title: 'DS-CNN-L, spoken digits, 50 % zeros, 8 clusters',
    recipe: { ...spokenDigits, clusters: 8 },
    goals: [
      { kind: 'accuracy', points: 0.5 },
      { kind: 'zeros', fraction: 0.5 },
      { kind: 'codes', most: 8 },
      { kind: 'bytes', fraction: 0.42 },
      { kind: 'smallest' },
      fidelity,
    ],
  },
  {
    name: 'mobilenet-16',
    title: 'MobileNet v1 1.0 at 32×32, CIFAR-10 subset, 50 % zeros, 16 clusters',
    recipe: {
      model: { name: 'mobilenet-v1', alpha: 1 },
      data: cifar,
      epochs: 20,
      sparsity: 0.5,
      clusters: 16,
      augment: photographs,
      outputs: { columns: [...two] },
    },
    goals: [{ kind: 'accuracy', points: 0.5 }, { kind: 'zeros', fraction: 0.5 }, { kind: 'codes', most: 16 }, fidelity],
  },
  {
    name: 'resnet8-16',
    title: 'ResNet-8, CIFAR-10 subset, 75 % zeros, 16 clusters',
    recipe: {
      model: 'resnet8',
      data: cifar,
      sparsity: 0.75,
      clusters: 16,
      augment: photographs,
      outputs: { columns: [...two] },
    },
    goals: [{ kind: 'accuracy', points: 0.5 }, { kind: 'zeros', fraction: 0.75 }, { kind: 'codes', most: 16 }, fidelity],
    curve: [
      { sparsity: 0.25, clusters: 16 },
      { sparsity: 0.5, clusters: 16 },
      { sparsity: 0.625, clusters: 16 },
      { sparsity: 0.75, clusters: 4 },
      { sparsity: 0.75, clusters: 64 },
    ],
  },
  {
    name: 'lenet5-16',
    title: 'LeNet-5, Fashion-MNIST, 75 % zeros, 16 clusters',
    recipe: {
      model: 'lenet5',
      data: { name: 'fashion-mnist', path: '$data/fashion-mnist' },
      sparsity: 0.75,
      clusters: 16,
      batchSize: 128,
      outputs: { columns: [...two] },
    },
    goals: [{ kind: 'accuracy', points: 0.5 }, { kind: 'zeros', fraction: 0.75 }, { kind: 'codes', most: 16 }, fidelity],
  },
];
