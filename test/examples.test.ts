import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';

/** A complete module in the documentation. */
interface Example {
  readonly where: string;
  readonly code: string;
}

const ROOT = resolve('.');
// Inside the package, so that `import … from 'pcqat'` is the package itself.
const FOLDER = join(ROOT, 'build', 'examples');

/** The `@example` blocks of a source file. */
function examplesOf(source: string, where: string): Example[] {
  return [...source.matchAll(/@example\s*\n((?:[ \t]*\*.*\n)*?)[ \t]*\*\s*```ts\n([\s\S]*?)```/g)].map((match, i) => ({
    where: `${where} #${i + 1}`,
    code: match[2]!.replace(/^[ \t]*\* ?/gm, ''),
  }));
}

/** The TypeScript block of the README, with one epoch a stage: what is tested is that it runs. */
function readmeExamples(readme: string): Example[] {
  const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)];
  return blocks.map((match, i) => ({ where: `README.md #${i + 1}`, code: match[1]!.replaceAll(/epochs: \d+/g, 'epochs: 1') }));
}

async function collect(): Promise<Example[]> {
  const files = (await readdir('lib', { recursive: true })).filter((name) => name.endsWith('.ts')).sort();
  const sources = await Promise.all(files.map(async (name) => examplesOf(await readFile(join('lib', name), 'utf8'), `lib/${name}`)));
  return [...sources.flat(), ...readmeExamples(await readFile('README.md', 'utf8'))];
}

describe('examples in the documentation', () => {
  let examples: Example[];
  let scratch: string;
  const source = (index: number): string => join(FOLDER, `example-${index}.ts`);
  const compiled = (index: number): string => join(FOLDER, 'js', `example-${index}.js`);

  before(async function () {
    this.timeout(120_000);
    examples = await collect();
    scratch = await mkdtemp(join(tmpdir(), 'pcqat-examples-'));
    await rm(FOLDER, { recursive: true, force: true });
    await mkdir(FOLDER, { recursive: true });
    await Promise.all(examples.map(({ code }, i) => writeFile(source(i), `${code}\nexport {};\n`)));
    const config = {
      extends: relative(FOLDER, join(ROOT, 'tsconfig.json')),
      compilerOptions: { rootDir: '.', outDir: 'js', declaration: false, noUnusedLocals: false, types: ['node'] },
      include: ['.'],
    };
    await writeFile(join(FOLDER, 'tsconfig.json'), JSON.stringify(config));
  });
  after(() => rm(scratch, { recursive: true, force: true }));

  it('are found', () => {
    expect(examples.length).to.be.above(60);
    expect(examples.at(-1)?.where).to.match(/^README/);
  });

  it('compile against the published types', function () {
    this.timeout(120_000);
    let output = '';
    try {
      execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', FOLDER], { encoding: 'utf8' });
    } catch (error) {
      output = (error as { stdout: string }).stdout;
    }
    const named = output.replace(/\S*example-(\d+)\.ts/g, (_, index: string) => examples[Number(index)]?.where ?? index);
    expect(named).to.equal('');
  });

  it('run', async function () {
    this.timeout(300_000);
    const directory = process.cwd();
    const { log } = console;
    process.chdir(scratch); // some write files
    console.log = () => undefined;
    const failures: string[] = [];
    try {
      for (const [i, { where }] of examples.entries()) {
        try {
          await import(pathToFileURL(compiled(i)).href);
        } catch (error) {
          failures.push(`${where}: ${String(error)}`);
        }
      }
    } finally {
      console.log = log;
      process.chdir(directory);
    }
    expect(failures.join('\n')).to.equal('');
  });
});
