import type { Net } from './nets.js';
import type { Python } from './rivals/python.js';

/** What every section of the benchmark is told. */
export interface Plan {
  readonly threads: number;
  /** For each group of candidates that are timed in turn. */
  readonly seconds: number;
  note(text: string): void;
}

/** Of a section that measures networks beside rivals. */
export interface RivalPlan extends Plan {
  readonly nets: readonly Net[];
  /** Where the rivals run, if anywhere. */
  readonly python: Python | undefined;
}
