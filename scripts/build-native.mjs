#!/usr/bin/env node
// Builds the native core from its sources into build/Release/pcqat.node, where the loader looks first. In a checkout this is
// `npm run build:native`; in an installed package it is the explicit command `npx pcqat-build`. Nothing runs it at install.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const build = path.join(root, 'build');

const works = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;

function requireTools() {
  const missing = [];
  if (!works('cmake')) missing.push('CMake 3.19 or newer');
  if (!['c++', 'g++', 'clang++'].some(works) && process.platform !== 'win32') missing.push('a C++17 compiler (GCC or Clang)');
  if (missing.length === 0) return;
  console.error(`To build pcqat from source, install ${missing.join(' and ')}. On Debian or Ubuntu: apt-get install cmake g++ ninja-build`);
  process.exit(1);
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

function cmakeJs() {
  try {
    return createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  } catch {
    return undefined;
  }
}

requireTools();
const tool = cmakeJs();
if (tool !== undefined) {
  run(process.execPath, [tool, 'compile', '--out', build]);
} else {
  // An installed package: no development dependencies, but a copy of the Node-API headers.
  if (!existsSync(path.join(root, 'native', 'include', 'napi.h'))) {
    console.error('The development dependencies are missing: run `npm ci` first.');
    process.exit(1);
  }
  const generator = works('ninja') ? ['-G', 'Ninja'] : [];
  run('cmake', [
    '-S',
    root,
    '-B',
    build,
    ...generator,
    '-DCMAKE_BUILD_TYPE=Release',
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${path.join(build, 'Release')}`,
  ]);
  run('cmake', ['--build', build, '--parallel', '--config', 'Release']);
}
