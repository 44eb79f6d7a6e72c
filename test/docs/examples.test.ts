import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';

/** One `@example` of a source file or code block of a document, as a module of its own. */
interface Example {
  /** `file:line`. */
  readonly place: string;
  /** The generated module, without extension. */
  readonly module: string;
  readonly code: string;
}

const root = path.resolve('.');
const folder = path.join(root, 'build', 'examples');

const sources = readdirSync('lib', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .sort()
  .map((file) => path.join('lib', file));

/** Finds ```ts blocks; in sources only those after `@example`, without the comment's asterisks. */
function extract(file: string): Example[] {
  const text = readFileSync(file, 'utf8');
  const isSource = file.endsWith('.ts');
  const pattern = isSource ? /@example\s*\n(?:[ \t]*\*[^\n]*\n)*?[ \t]*\* ```ts\n([\s\S]*?)\n[ \t]*\* ```/g : /^```ts\n([\s\S]*?)\n```/gm;
  return [...text.matchAll(pattern)].map((match, i) => {
    const code = isSource ? (match[1] as string).replace(/^[ \t]*\* ?/gm, '') : (match[1] as string);
    const line = text.slice(0, match.index).split('\n').length;
    // The README's tour trains to the end, which takes minutes; that it runs is seen in one epoch a stage.
    const quick = isSource ? code : code.replaceAll(/epochs: \d+/g, 'epochs: 1');
    return { place: `${file}:${line}`, module: path.join(folder, `${file.replaceAll(/[/.]/g, '-')}-${i}`), code: `${quick}\nexport {};\n` };
  });
}

const examples = [...sources, 'README.md', 'docs/importing.md'].flatMap(extract);

/** Type errors by module. */
function compile(): ReadonlyMap<string, string> {
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2023,
    strict: true,
    skipLibCheck: true,
    types: ['node'],
    rootDir: folder,
    outDir: folder,
  };
  const program = ts.createProgram(
    examples.map(({ module }) => `${module}.ts`),
    options,
  );
  program.emit();
  const errors = new Map<string, string>();
  for (const { file, messageText } of ts.getPreEmitDiagnostics(program)) {
    const module = file?.fileName.replace(/\.ts$/, '') ?? '';
    errors.set(module, `${errors.get(module) ?? ''}${ts.flattenDiagnosticMessageText(messageText, '\n')}\n`);
  }
  return errors;
}

describe('examples in the documentation', () => {
  const log = console.log;
  let errors: ReadonlyMap<string, string>;
  let workFolder: string;

  before(() => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    for (const { module, code } of examples) writeFileSync(`${module}.ts`, code);
    errors = compile();
    // Some write files.
    workFolder = mkdtempSync(path.join(tmpdir(), 'pcqat-examples-'));
    process.chdir(workFolder);
  });

  after(() => {
    process.chdir(root);
    rmSync(workFolder, { recursive: true });
  });

  it('are found', () => {
    expect(examples.length).to.be.greaterThan(50);
    expect(examples.some(({ place }) => place.startsWith('README.md'))).to.equal(true);
  });

  for (const { place, module } of examples) {
    it(`${place} compiles and runs`, async () => {
      expect(errors.get(module) ?? '').to.equal('');
      console.log = () => undefined;
      try {
        await import(pathToFileURL(`${module}.js`).href);
      } finally {
        console.log = log;
      }
    }).timeout(180_000);
  }
});
