import type { ColumnReport, Fidelity, Report } from '#lib/index.js';
import type { Goal } from './experiments.js';

/** What one seed gives. */
export interface SeedResult {
  readonly report: Report;
  /** Of the PCQAT column. */
  readonly fidelity: Fidelity;
}

/** Whether a goal is reached, and the figures that say so. */
export interface GoalResult {
  readonly goal: string;
  readonly measured: string;
  readonly reached: boolean;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const percent = (fraction: number, digits = 2): string => `${(100 * fraction).toFixed(digits)} %`;
const each = (values: readonly string[]): string => values.join(', ');

function column(report: Report, name: string): ColumnReport {
  const found = report.columns[name];
  if (found === undefined) throw new Error(`the report of seed ${report.seed} has no column '${name}'`);
  return found;
}

/** Checks one goal on the reports of all seeds. */
export function checkGoal(goal: Goal, results: readonly SeedResult[]): GoalResult {
  const reports = results.map(({ report }) => report);
  const pcqat = reports.map((report) => column(report, 'pcqat'));
  const baseline = reports.map((report) => column(report, 'baseline'));
  switch (goal.kind) {
    case 'accuracy': {
      const losses = pcqat.map(({ int8Accuracy }, i) => baseline[i]!.accuracy - int8Accuracy);
      return {
        goal: `INT8 PCQAT within ${goal.points} point of the equally trained float model (mean over the seeds)`,
        measured: `${(100 * mean(losses)).toFixed(2)} points lost (${each(losses.map((loss) => (100 * loss).toFixed(2)))})`,
        reached: 100 * mean(losses) <= goal.points + 1e-9,
      };
    }
    case 'zeros': {
      const least = pcqat.map(({ layers }) => Math.min(...layers.map(({ zeros }) => zeros)));
      return {
        goal: `every layer at least ${percent(goal.fraction, 0)} zeros (to the whole weight), at every seed`,
        measured: `least: ${each(least.map((zeros) => percent(zeros)))}`,
        // One weight may be kept by rounding in a layer.
        reached: pcqat.every(({ layers }) =>
          layers.every(({ zeros, weights }) => Math.ceil(zeros * weights) >= Math.floor(goal.fraction * weights)),
        ),
      };
    }
    case 'codes': {
      const most = pcqat.map(({ maxCodes }) => maxCodes);
      return {
        goal: `at most ${goal.most} codes in every tensor, at every seed`,
        measured: `most: ${each(most.map(String))}`,
        reached: most.every((codes) => codes <= goal.most),
      };
    }
    case 'bytes': {
      const shares = pcqat.map(({ gzipBytes }, i) => gzipBytes / baseline[i]!.gzipBytes);
      return {
        goal: `gzip bytes at most ${percent(goal.fraction, 0)} of the INT8 baseline's (mean over the seeds)`,
        measured: `${percent(mean(shares), 1)} (${each(shares.map((share) => percent(share, 1)))})`,
        reached: mean(shares) <= goal.fraction,
      };
    }
    case 'smallest': {
      const smallest = reports.map(({ columns }) =>
        Object.entries(columns).reduce((best, entry) => (entry[1]!.gzipBytes < best[1]!.gzipBytes ? entry : best)),
      );
      return {
        goal: 'PCQAT is the smallest file of the table, at every seed',
        measured: `smallest: ${each(smallest.map(([name]) => name))}`,
        reached: smallest.every(([name]) => name === 'pcqat'),
      };
    }
    case 'fidelity': {
      const all = results.map(({ fidelity }) => fidelity);
      const [agreement, steps] = [mean(all.map((one) => one.agreement)), mean(all.map(({ meanSteps }) => meanSteps))];
      const plain = all.map(({ fakeQuant }) => fakeQuant);
      return {
        goal: `simulation and file agree in arg-max on ${percent(goal.agreement, 1)} of the test set, mean difference under ${goal.steps} step`,
        measured:
          `${percent(agreement)} (${each(all.map((one) => percent(one.agreement)))}), ${steps.toFixed(4)} steps; ` +
          `fake quantization as in training, without the kernels' rounding: ${percent(mean(plain.map((one) => one.agreement)))}, ` +
          `${mean(plain.map(({ meanSteps }) => meanSteps)).toFixed(3)} steps`,
        reached: agreement >= goal.agreement && steps < goal.steps,
      };
    }
  }
}
