// Compiles the addon of the development dependency tfjs-tflite-node (TFLite 2.9, the official C library in the package) into
// build/oracles. Its own install script does the same with node-gyp, but install scripts are off, and node-gyp downloads headers.
// Usage: node scripts/build-oracles.mjs
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folders = { 'linux-x64': 'linux_amd64', 'linux-arm64': 'linux_arm64' };
const folder = folders[`${process.platform}-${process.arch}`];
if (folder === undefined) {
  console.error(`tfjs-tflite-node ships no TFLite library that this script can use for ${process.platform}-${process.arch}.`);
  process.exit(1);
}
const modules = path.join(root, 'node_modules');
const tflite = path.join(modules, 'tfjs-tflite-node');
if (!existsSync(tflite)) {
  console.error('tfjs-tflite-node is not installed; run `npm ci` first.');
  process.exit(1);
}
const libraries = path.join(tflite, 'cc_deps', folder);
const output = path.join(root, 'build', 'oracles', 'node_tflite_binding.node');
mkdirSync(path.dirname(output), { recursive: true });
execFileSync(
  process.env.CXX ?? 'g++',
  [
    '-std=c++17',
    '-O1',
    '-shared',
    '-fPIC',
    '-w',
    '-DNAPI_CPP_EXCEPTIONS',
    `-I${path.join(modules, 'node-addon-api')}`,
    `-I${path.join(modules, 'node-api-headers', 'include')}`,
    `-I${path.join(tflite, 'cc_deps', 'include')}`,
    path.join(tflite, 'binding', 'node_tflite_binding.cc'),
    path.join(libraries, 'libtensorflowlite_c.so'),
    path.join(libraries, 'libexternal_delegate_obj.so'),
    `-Wl,-rpath,${libraries}`,
    '-o',
    output,
  ],
  { stdio: 'inherit' },
);
