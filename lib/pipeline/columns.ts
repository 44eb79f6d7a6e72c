import { COLUMNS, type ColumnName, isImported, type Recipe } from './recipe.js';
import { recipeError } from './recipe-error.js';
import type { Stage } from './stage-schema.js';

/** A column with the training it gets. */
export interface Column {
  readonly name: ColumnName;
  /** Heading in the table. */
  readonly title: string;
  readonly stages: readonly Stage[];
  /** Sum over the stages. The same for every column. */
  readonly epochs: number;
}

const TITLES: Readonly<Record<ColumnName, string>> = {
  baseline: 'Baseline',
  pruned: 'Pruned',
  qat: 'QAT',
  prunedClustered: 'Pruned+Clustered',
  pcqat: 'PCQAT',
};

/** Part of the epochs that the float base gets. */
const BASE_SHARE = 0.45;

/**
 * The default stages of a column. All columns share the float base and the pruned ones share the pruning stage, so
 * that each is trained once, and all have the same number of epochs. A model from a file needs no base: its baseline is the model as it is.
 */
function defaultStages(column: ColumnName, epochs: number, imported: boolean): Stage[] {
  // what the base would take is shared among the other stages
  const scale = imported ? 1 / (1 - BASE_SHARE) : 1;
  // each stage has an epoch at least; the recipe asks for four or more in all
  const share = (fraction: number, most: number): number => Math.min(most, Math.max(1, Math.round(fraction * scale * epochs)));
  const base = imported ? 0 : share(BASE_SHARE, epochs - 3);
  const prune = share(0.2, epochs - base - 2);
  const cluster = share(0.2, epochs - base - prune - 1);
  // A short stage after the codebooks are fixed, where there is an epoch for it; without it they are fixed at export.
  const retune = Math.min(Math.round(0.05 * scale * epochs), epochs - base - prune - cluster - 1);
  const start: Stage[] = imported ? [] : [{ stage: 'float', epochs: base }];
  const pruning: Stage = { stage: 'prune', epochs: prune, schedule: 'polynomial', initialSparsity: 0, updatesPerEpoch: 4 };
  const clustering = (length: number): Stage => ({ stage: 'cluster', epochs: length, granularity: 'auto', aggregation: 'sum' });
  switch (column) {
    case 'baseline':
      return imported ? [{ stage: 'float', epochs: 0 }] : [...start, { stage: 'finetune', epochs: epochs - base }];
    case 'pruned':
      return [...start, pruning, { stage: 'finetune', epochs: epochs - base - prune }];
    case 'qat':
      return [...start, { stage: 'qat', epochs: epochs - base }];
    case 'prunedClustered':
      return [...start, pruning, clustering(epochs - base - prune)];
    case 'pcqat':
      return [
        ...start,
        pruning,
        clustering(cluster),
        { stage: 'pcqat', epochs: epochs - base - prune - cluster - retune },
        ...(retune > 0 ? [{ stage: 'retune', epochs: retune } as const] : []),
      ];
  }
}

/** Checks that each stage may follow those before it. */
function checkOrder(stages: readonly Stage[], path: string, imported: boolean): void {
  const seen = new Set<Stage['stage']>();
  stages.forEach(({ stage, epochs }, index) => {
    const where = `${path}[${index}].stage`;
    const quantized = [...seen].some((name) => name.endsWith('qat'));
    if (stage === 'float' && index > 0)
      throw recipeError(where, `'float' can only be the first stage`, `Use 'finetune' to go on training.`);
    if (epochs === 0 && !imported)
      throw recipeError(`${path}[${index}].epochs`, 'it is 0 but must be at least 1', 'Only a model from a file can be left as it is.');
    if (stage === 'finetune' && index === 0 && !imported)
      throw recipeError(where, `'finetune' has no stage to go on from`, `Start with 'float'.`);
    if (stage !== 'finetune' && stage !== 'retune' && quantized)
      throw recipeError(where, `'${stage}' comes after quantization`, `Only 'finetune' and 'retune' may follow it.`);
    if (stage === 'retune' && !seen.has('cqat') && !seen.has('pcqat'))
      throw recipeError(where, `'retune' has no trained int8 codebooks to fix`, `Put it behind 'cqat' or 'pcqat'.`);
    if (stage === 'prune' && seen.has('cluster')) throw recipeError(where, `'prune' comes after 'cluster'`, `Prune before clustering.`);
    const needs = { pqat: ['prune'], cqat: ['cluster'], pcqat: ['prune', 'cluster'] } as const;
    for (const need of needs[stage as keyof typeof needs] ?? []) {
      if (!seen.has(need)) throw recipeError(where, `'${stage}' needs a '${need}' stage before it`, `Add { stage: '${need}', epochs: … }.`);
    }
    seen.add(stage);
  });
}

/** What a column must contain to deserve its name. */
const MUST_HAVE: Readonly<Record<ColumnName, readonly Stage['stage'][]>> = {
  baseline: [],
  pruned: ['prune'],
  qat: ['qat'],
  prunedClustered: ['prune', 'cluster'],
  pcqat: ['pcqat'],
};

/**
 * The columns that a recipe asks for, checked: the stages fit together, a column does what its name says, and all have
 * the same training budget.
 *
 * @throws PcqatError `ERR_RECIPE`, naming the field
 */
export function planColumns(recipe: Recipe): readonly Column[] {
  const imported = isImported(recipe);
  const wanted = COLUMNS.filter((name) => recipe.outputs.columns?.includes(name) ?? true);
  const columns = wanted.map((name): Column => {
    const stages = recipe.columns[name] ?? defaultStages(name, recipe.epochs, imported);
    const path = `columns.${name}`;
    checkOrder(stages, path, imported);
    for (const stage of MUST_HAVE[name]) {
      if (!stages.some((one) => one.stage === stage))
        throw recipeError(path, `it has no '${stage}' stage`, `Add { stage: '${stage}', epochs: … }.`);
    }
    const extra = name === 'baseline' ? stages.find(({ stage }) => stage !== 'float' && stage !== 'finetune') : undefined;
    if (extra)
      throw recipeError(path, `the baseline must stay a float model but has a '${extra.stage}' stage`, `Move it to another column.`);
    return { name, title: TITLES[name], stages, epochs: stages.reduce((sum, { epochs }) => sum + epochs, 0) };
  });
  // A model from a file, as it is, is what the others are compared with.
  const trained = columns.filter(({ name, epochs }) => name !== 'baseline' || epochs > 0);
  const budget = trained[0]?.epochs;
  for (const { name, epochs } of trained) {
    if (epochs !== budget) {
      throw recipeError(
        `columns.${name}`,
        `its stages have ${epochs} epochs but those of ${trained[0]!.name} have ${budget}`,
        'Give every column the same number of epochs, so that they can be compared.',
      );
    }
  }
  return columns;
}
