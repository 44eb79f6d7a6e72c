import { parseArgs } from 'node:util';
import { NETS, type Net } from './nets.js';
import { select, supportedStages, type Stage } from './stages.js';

/** The parts of the benchmark. Those that do not run unless asked for: `scaling`. */
const SECTIONS = ['peak', 'steps', 'gemm', 'kernels', 'inference', 'compression', 'scaling'] as const;
export type Section = (typeof SECTIONS)[number];

/** The command line of `npm run bench --`. */
export interface BenchOptions {
  /** `--json`: one JSON object instead of Markdown. */
  readonly json: boolean;
  /** `--rivals`: PyTorch, Keras, OpenBLAS and TFLite from a Python at hand beside ours. */
  readonly rivals: boolean;
  /** `--python PATH` for them; see {@link findPython}. */
  readonly python: string | undefined;
  /** `--threads N`. Default: those of the core. */
  readonly threads: number | undefined;
  /** `--seconds S`: for the timed steps of one network; the other parts take fractions of it. Default 3. */
  readonly seconds: number;
  /** `--only a,b`. Default: all but scaling. `--scaling` is short for `--only scaling`. */
  readonly sections: ReadonlySet<Section>;
  /** `--nets a,b`. Default: all. */
  readonly nets: readonly Net[];
  /** `--stages a,b`. Default: all that this CPU can run. */
  readonly stages: readonly Stage[];
  /** `--plot FILE`: where scaling writes its SVG. */
  readonly plot: string | undefined;
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new Error(`--${name} must be a positive number`);
  return value;
}

/** @throws Error for an unknown option, or a value that is none. */
export function benchOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      rivals: { type: 'boolean', default: false },
      python: { type: 'string' },
      threads: { type: 'string' },
      seconds: { type: 'string', default: '3' },
      only: { type: 'string' },
      scaling: { type: 'boolean', default: false },
      nets: { type: 'string' },
      stages: { type: 'string' },
      plot: { type: 'string' },
    },
  });
  const sections = SECTIONS.map((name) => ({ name }));
  const wanted = values.only ?? (values.scaling ? 'scaling' : SECTIONS.filter((name) => name !== 'scaling').join());
  return {
    json: values.json,
    rivals: values.rivals,
    python: values.python,
    threads: values.threads === undefined ? undefined : Math.ceil(positive('threads', values.threads)),
    seconds: positive('seconds', values.seconds),
    sections: new Set(select('only', sections, wanted).map(({ name }) => name)),
    nets: select('nets', NETS, values.nets),
    stages: select('stages', supportedStages(), values.stages),
    plot: values.plot,
  };
}
