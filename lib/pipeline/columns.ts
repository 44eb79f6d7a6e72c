import { COLUMNS, type ColumnName, type Recipe } from './recipe.js';
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

/**
 * The default stages of a column. All columns share the float base and the pruned ones share the pruning stage, so
 * that each is trained once, and all have the same number of epochs.
 */
function defaultStages(column: ColumnName, epochs: number): Stage[] {
  // each stage has an epoch at least; the recipe asks for four or more in all
  const share = (fraction: number, most: number): number => Math.min(most, Math.max(1, Math.round(fraction * epochs)));
  const base = share(0.45, epochs - 3);
  const prune = share(0.2, epochs - base - 2);
  const cluster = share(0.2, epochs - base - prune - 1);
  // A short stage after the codebooks are fixed, where there is an epoch for it; without it they are fixed at export.
  const retune = Math.min(Math.round(0.05 * epochs), epochs - base - prune - cluster - 1);
  const float: Stage = { stage: 'float', epochs: base };
  const pruning: Stage = { stage: 'prune', epochs: prune, schedule: 'polynomial', initialSparsity: 0, updatesPerEpoch: 4 };
  const clustering = (length: number): Stage => ({ stage: 'cluster', epochs: length, granularity: 'auto', aggregation: 'sum' });
  switch (column) {
    case 'baseline':
      return [float, { stage: 'finetune', epochs: epochs - base }];
    case 'pruned':
      return [float, pruning, { stage: 'finetune', epochs: epochs - base - prune }];
    case 'qat':
      return [float, { stage: 'qat', epochs: epochs - base }];
    case 'prunedClustered':
      return [float, pruning, clustering(epochs - base - prune)];
    case 'pcqat':
      return [
        float,
        pruning,
        clustering(cluster),
        { stage: 'pcqat', epochs: epochs - base - prune - cluster - retune },
        ...(retune > 0 ? [{ stage: 'retune', epochs: retune } as const] : []),
      ];
  }
}

/** Checks that each stage may follow those before it. */
function checkOrder(stages: readonly Stage[], path: string): void {
  const seen = new Set<Stage['stage']>();
  stages.forEach(({ stage }, index) => {
    const where = `${path}[${index}].stage`;
    const quantized = [...seen].some((name) => name.endsWith('qat'));
    if (stage === 'float' && index > 0)
      throw recipeError(where, `'float' can only be the first stage`, `Use 'finetune' to go on training.`);
    if (stage === 'finetune' && index === 0) throw recipeError(where, `'finetune' has no stage to go on from`, `Start with 'float'.`);
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
  const wanted = COLUMNS.filter((name) => recipe.outputs.columns?.includes(name) ?? true);
  const columns = wanted.map((name): Column => {
    const stages = recipe.columns[name] ?? defaultStages(name, recipe.epochs);
    const path = `columns.${name}`;
    checkOrder(stages, path);
    for (const stage of MUST_HAVE[name]) {
      if (!stages.some((one) => one.stage === stage))
        throw recipeError(path, `it has no '${stage}' stage`, `Add { stage: '${stage}', epochs: … }.`);
    }
    const extra = name === 'baseline' ? stages.find(({ stage }) => stage !== 'float' && stage !== 'finetune') : undefined;
    if (extra)
      throw recipeError(path, `the baseline must stay a float model but has a '${extra.stage}' stage`, `Move it to another column.`);
    return { name, title: TITLES[name], stages, epochs: stages.reduce((sum, { epochs }) => sum + epochs, 0) };
  });
  const budget = columns[0]!.epochs;
  for (const { name, epochs } of columns) {
    if (epochs !== budget) {
      throw recipeError(
        `columns.${name}`,
        `its stages have ${epochs} epochs but those of ${columns[0]!.name} have ${budget}`,
        'Give every column the same number of epochs, so that they can be compared.',
      );
    }
  }
  return columns;
}
