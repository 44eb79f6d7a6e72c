import { spawnSync } from 'node:child_process';

/** A Python and which of the rivals' packages it has. */
export interface Python {
  readonly path: string;
  readonly packages: ReadonlySet<string>;
}

/** What the rivals need; each does with one of them. */
export const RIVAL_PACKAGES = ['torch', 'tensorflow', 'numpy'];

/** The Python of `--python`, else of the environment's `PCQAT_PYTHON`, else `python3`. `undefined` when it does not run. */
export function findPython(given: string | undefined): Python | undefined {
  const path = given ?? process.env['PCQAT_PYTHON'] ?? 'python3';
  const code = `import importlib.util, json; print(json.dumps([p for p in ${JSON.stringify(RIVAL_PACKAGES)} if importlib.util.find_spec(p)]))`;
  const { status, stdout } = spawnSync(path, ['-c', code], { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? { path, packages: new Set(JSON.parse(stdout) as string[]) } : undefined;
}
