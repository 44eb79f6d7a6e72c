import { z } from 'zod';
import { PcqatError } from '../errors.js';
import { loadCifar } from './cifar.js';
import { loadFsdd } from './fsdd.js';
import { loadIdx } from './idx.js';
import { armMfcc, mlperfMfcc } from './mfcc.js';
import type { DatasetSplits } from './types.js';
import { loadWavFolder } from './wav-folder.js';

const folder = z.string().min(1);
const count = z.number().int().positive();
const fraction = z.number().gt(0).lt(1);
const idxOptions = z.strictObject({ path: folder, validation: count.optional() });

const FASHION_CLASSES = ['T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'];
const DIGITS = Array.from({ length: 10 }, (_, digit) => String(digit));
const FASHION_CREDIT = 'Fashion-MNIST by Zalando SE, MIT licence.';
const MNIST_CREDIT = 'MNIST by Yann LeCun, Corinna Cortes and Christopher Burges, CC BY-SA 3.0.';
const RECIPES = { arm: armMfcc, mlperf: mlperfMfcc } as const;

/** A data set by name: the schema of its options, and its loader. */
interface Entry {
  readonly options: z.ZodType;
  load(options: unknown): Promise<DatasetSplits>;
}

function entry<Schema extends z.ZodType>(options: Schema, load: (options: z.output<Schema>) => Promise<DatasetSplits>): Entry {
  return { options, load: (value) => load(value as z.output<Schema>) };
}

/** `undefined` members are left out, which `exactOptionalPropertyTypes` wants. */
function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

const DATASETS: Readonly<Record<string, Entry>> = {
  fsdd: entry(
    z.strictObject({ path: folder.optional(), testSpeaker: z.string().optional(), standardize: z.boolean().optional() }),
    (options) => loadFsdd(defined(options)),
  ),
  mnist: entry(idxOptions, (options) => loadIdx({ ...defined(options), name: 'mnist', labelNames: DIGITS, credit: MNIST_CREDIT })),
  'fashion-mnist': entry(idxOptions, (options) =>
    loadIdx({ ...defined(options), name: 'fashion-mnist', labelNames: FASHION_CLASSES, credit: FASHION_CREDIT }),
  ),
  idx: entry(idxOptions, (options) => loadIdx(defined(options))),
  cifar10: entry(z.strictObject({ path: folder, validation: count.optional() }), (options) => loadCifar(defined(options))),
  'wav-folder': entry(
    z.strictObject({
      path: folder,
      features: z.enum(['arm', 'mlperf']),
      seconds: z.number().positive().optional(),
      validation: fraction.optional(),
      test: fraction.optional(),
      seed: z.number().int().optional(),
    }),
    ({ features, ...options }) => loadWavFolder({ ...defined(options), features: RECIPES[features] }),
  ),
};

/** Names that {@link loadDataset} knows. */
export const datasetNames: readonly string[] = Object.keys(DATASETS);

/**
 * Loads a data set by its name, as recipes do.
 *
 * | name | options |
 * | --- | --- |
 * | `fsdd` | those of {@link loadFsdd}; inside the package |
 * | `mnist`, `fashion-mnist`, `idx` | `path`, `validation`, as {@link loadIdx} |
 * | `cifar10` | `path`, `validation`, as {@link loadCifar} |
 * | `wav-folder` | those of {@link loadWavFolder}, with `features` either `'arm'` or `'mlperf'` |
 *
 * @throws PcqatError `ERR_OPTION` for an unknown name (listing the known ones) or option (naming it), and what the loader throws.
 *
 * @example
 * ```ts
 * import { loadDataset } from 'pcqat';
 * const { train, test } = await loadDataset('fsdd', { testSpeaker: 'lucas' });
 * console.log(train.size, test.size); // 2250 500
 * ```
 */
export async function loadDataset(name: string, options: Readonly<Record<string, unknown>> = {}): Promise<DatasetSplits> {
  const dataset = Object.hasOwn(DATASETS, name) ? DATASETS[name] : undefined;
  if (dataset === undefined) {
    throw new PcqatError('ERR_OPTION', `there is no data set '${name}'`, {
      where: 'data',
      remedy: `Choose one of ${datasetNames.join(', ')}.`,
    });
  }
  const parsed = dataset.options.safeParse(options);
  if (parsed.success) return dataset.load(parsed.data);
  const [issue] = parsed.error.issues;
  throw new PcqatError('ERR_OPTION', issue?.message ?? 'bad options', { where: ['data', name, ...(issue?.path ?? [])].join('.') });
}
