// Installs the packed packages into an empty folder, as a user gets them, and checks what is in them and that they work.
// Ends with a line `N passed, M failed`. Dependencies come from npm's cache or the registry.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const packages = path.join(root, 'build', 'packages');
const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const platform = `${process.platform}-${process.arch}-gnu`;
const tarball = (name) => path.join(packages, `${name}-${version}.tgz`);

let passed = 0;
let failed = 0;
function check(name, body) {
  try {
    body();
    passed++;
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}\n${error.message}`);
  }
}

function must(condition, message) {
  if (!condition) throw new Error(message);
}

function run(command, args, cwd, env = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', env: { ...process.env, ...env } });
  return { status, stdout, stderr };
}

function install(...tarballs) {
  const folder = mkdtempSync(path.join(tmpdir(), 'pcqat-install-'));
  writeFileSync(path.join(folder, 'package.json'), '{ "name": "user", "version": "1.0.0", "type": "module" }\n');
  execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', '--omit=optional', ...tarballs], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return folder;
}

const SMOKE = `
import { existsSync } from 'node:fs';
import { nativeInfo, loadFsdd, zoo, fit, adam, evaluate } from 'pcqat';
if (!nativeInfo().path.includes('@pcqat')) throw new Error('not the core of the platform package: ' + nativeInfo().path);
const { train, validation } = await loadFsdd();
const model = zoo.dsCnn({ size: 'S', classes: 10 });
await fit(model, { train: { ...train, size: 300, x: train.x.subarray(0, 300 * 490), y: train.y.subarray(0, 300) }, epochs: 1, batchSize: 100, optimizer: adam({ learningRate: 1e-3 }) });
const { loss } = await evaluate(model, validation);
if (!Number.isFinite(loss)) throw new Error('loss ' + loss);
`;

const FORMATS = `
import { readFileSync, writeFileSync } from 'node:fs';
import { checkImport, encodeCHeader, encodeOnnx, encodeTflite, convertToFloat, importModel, PcqatError, predict, writeTfjs, zoo } from 'pcqat';
import { fromLayersModel } from 'pcqat/tfjs';
const model = zoo.lenet5();
writeFileSync('lenet5.onnx', encodeOnnx(model));
writeFileSync('lenet5.tflite', encodeTflite(convertToFloat(model)));
writeFileSync('lenet5.h', encodeCHeader(readFileSync('lenet5.tflite')));
await writeTfjs(model, 'lenet5-tfjs');
const x = Float32Array.from({ length: 784 }, (_, i) => Math.sin(i));
const expected = await predict(model, x);
for (const file of ['lenet5.onnx', 'lenet5.tflite', 'lenet5-tfjs']) {
  if ((await checkImport(file)).unsupported.length > 0) throw new Error(file + ' has unsupported nodes');
  const outputs = await predict((await importModel(file)).model, x);
  if (!outputs.every((value, i) => Math.abs(value - expected[i]) < 1e-5)) throw new Error(file + ' gives other outputs');
}
if (typeof fromLayersModel !== 'function') throw new Error('pcqat/tfjs lacks fromLayersModel');
writeFileSync('keras.h5', '\\x89HDF\\r\\n\\x1a\\n');
try {
  await importModel('keras.h5');
  throw new Error('read without h5wasm');
} catch (error) {
  if (!(error instanceof PcqatError) || error.code !== 'ERR_MISSING_PEER' || !error.message.includes('npm install h5wasm')) throw error;
}
`;

/** Bytes of all files in a folder. */
const bytesIn = (at) =>
  readdirSync(at, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(path.join(entry.parentPath, entry.name)).size, 0);

rmSync(packages, { recursive: true, force: true });
execFileSync(process.execPath, [path.join(root, 'scripts', 'pack.mjs')], { stdio: 'inherit' });

const folder = install(tarball('pcqat'), tarball(`pcqat-${platform}`));
const installed = path.join(folder, 'node_modules', 'pcqat');
const npx = path.join(folder, 'node_modules', '.bin', 'pcqat');
const manifest = JSON.parse(readFileSync(path.join(installed, 'package.json'), 'utf8'));

check('no package runs anything at install', () => {
  const lifecycle = ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish'];
  const guilty = readdirSync(path.join(folder, 'node_modules'), { recursive: true })
    .filter((file) => /(^|\/)(pcqat|@pcqat\/[^/]+)\/package\.json$/.test(file))
    .filter((file) =>
      Object.keys(JSON.parse(readFileSync(path.join(folder, 'node_modules', file), 'utf8')).scripts ?? {}).some((name) =>
        lifecycle.includes(name),
      ),
    );
  must(guilty.length === 0, guilty.join(', '));
  must(!readdirSync(installed).includes('binding.gyp'), 'npm would run node-gyp for a binding.gyp');
});

check('the package asks for platform packages of exactly its version', () => {
  const wanted = Object.entries(manifest.optionalDependencies);
  must(wanted.length > 0 && wanted.every(([name, range]) => name.startsWith('@pcqat/') && range === version), JSON.stringify(wanted));
  must(manifest.devDependencies === undefined && manifest.scripts === undefined, 'development fields are left');
});

check('the package holds what it must, and nothing else', () => {
  const entries = readdirSync(installed).sort().join(' ');
  const expected = 'CHANGELOG.md CMakeLists.txt LICENSE README.md binding.d.ts data dist docs examples native package.json schema scripts';
  must(entries === expected, `${entries}\ninstead of\n${expected}`);
  const files = readdirSync(installed, { recursive: true });
  for (const file of [
    'data/fsdd/LICENSE',
    'data/fsdd/audio.flac',
    'dist/index.d.ts',
    'schema/recipe.schema.json',
    'native/include/napi.h',
  ]) {
    must(files.includes(file), `${file} is missing`);
  }
  const odd = files.filter((file) => /\.(node|tsbuildinfo|map|test\.js)$/.test(file) || file.includes('node_modules/'));
  must(odd.length === 0, odd.join(', '));
});

check('the platform package says for whom it is', () => {
  const { os, cpu, libc } = JSON.parse(readFileSync(path.join(folder, 'node_modules', '@pcqat', platform, 'package.json'), 'utf8'));
  must(`${os}/${cpu}/${libc}` === `${process.platform}/${process.arch}/glibc`, `${os}/${cpu}/${libc}`);
});

check('it loads data, trains and evaluates', () => {
  writeFileSync(path.join(folder, 'smoke.js'), SMOKE);
  const { status, stderr } = run(process.execPath, ['smoke.js'], folder);
  must(status === 0, stderr);
});

check('it writes, reads and checks models of other formats, without optional packages', () => {
  writeFileSync(path.join(folder, 'formats.js'), FORMATS);
  const { status, stderr } = run(process.execPath, ['formats.js'], folder);
  must(status === 0, stderr);
  const { stdout } = run(npx, ['import', '--check', 'lenet5.onnx'], folder);
  must(stdout.includes('conv1'), stdout);
});

check('it is under 5 MB besides the recordings', () => {
  const bytes = bytesIn(installed) - bytesIn(path.join(installed, 'data'));
  must(bytes < 5e6, `${bytes} bytes`);
});

check('`pcqat info` works and names the version', () => {
  const { status, stdout, stderr } = run(npx, ['info'], folder);
  must(status === 0 && stdout.includes(version), stdout + stderr);
});

/** Compiles a file as a strict user of the package does. */
function compile(name, source, ...flags) {
  writeFileSync(path.join(folder, name), source);
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const types = ['--types', 'node', '--typeRoots', path.join(root, 'node_modules', '@types')];
  const args = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', ...types, ...flags, name];
  const { status, stdout } = run(process.execPath, [tsc, ...args], folder);
  must(status === 0, stdout);
}

check('types resolve for a strict user', () => {
  compile(
    'user.ts',
    `import { nativeInfo, zoo, type Model } from 'pcqat';\nexport const model: Model = zoo.lenet5();\nexport const isa: string = nativeInfo().isa;\n`,
  );
});

check('types of pcqat/tfjs resolve beside tfjs', () => {
  // tfjs-core's own declarations are not strict.
  symlinkSync(path.join(root, 'node_modules', '@tensorflow'), path.join(folder, 'node_modules', '@tensorflow'));
  compile(
    'tfjs-user.ts',
    `import * as tf from '@tensorflow/tfjs-core';\nimport { zoo } from 'pcqat';\nimport { runTfjs } from 'pcqat/tfjs';\nexport const outputs: Promise<Float32Array> = runTfjs(tf, zoo.lenet5(), new Float32Array(784));\n`,
    '--skipLibCheck',
  );
  unlinkSync(path.join(folder, 'node_modules', '@tensorflow'));
});

check('without the platform package, one typed error says what to do', () => {
  rmSync(path.join(folder, 'node_modules', '@pcqat'), { recursive: true });
  writeFileSync(
    path.join(folder, 'missing.js'),
    `import { nativeInfo } from 'pcqat';\ntry { nativeInfo(); } catch (error) { console.log(error.name, error.code, error.message); }\n`,
  );
  const { stdout } = run(process.execPath, ['missing.js'], folder);
  must(
    /^PcqatError ERR_NATIVE_MISSING/.test(stdout) &&
      stdout.includes(`package @pcqat/${platform}: not installed`) &&
      stdout.includes('pcqat-build'),
    stdout,
  );
});

check('it builds from the source inside the package', () => {
  const target = path.join(folder, 'node_modules', '.bin', 'pcqat-build');
  const { status, stdout, stderr } = run(target, [], folder);
  must(status === 0, (stdout + stderr).slice(-3000));
  const info = run(npx, ['info'], folder);
  must(info.status === 0, info.stdout + info.stderr);
});

rmSync(folder, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
