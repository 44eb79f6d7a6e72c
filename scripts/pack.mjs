// Makes the npm packages in build/packages/: the main package, the one with the addon of this platform, and one with the CUDA
// module if it was built. `node scripts/pack.mjs [--platform linux-arm64-gnu --addon path --strip command]` packs a cross-built addon only.
//
// No package has an install script. The main package asks for the platform packages as optional dependencies of exactly its version.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** Platforms that are built and published. */
const PLATFORMS = ['linux-x64-gnu', 'linux-arm64-gnu'];

const root = fileURLToPath(new URL('..', import.meta.url));
const packages = path.join(root, 'build', 'packages');
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const { version, license, engines, author, repository } = manifest;

const { values: options } = parseArgs({
  options: { platform: { type: 'string' }, addon: { type: 'string' }, strip: { type: 'string', default: 'strip' } },
});

function stage(name, fill, json) {
  const folder = path.join(root, 'build', 'pack', name.replace('/', '-'));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  fill(folder);
  cpSync(path.join(root, 'LICENSE'), path.join(folder, 'LICENSE'));
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(json, null, 2)}\n`);
  const output = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', packages], {
    cwd: folder,
    encoding: 'utf8',
  });
  const [{ filename, size, unpackedSize }] = JSON.parse(output);
  console.log(`${filename}: ${megabytes(size)} packed, ${megabytes(unpackedSize)} unpacked`);
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;

function packMain() {
  const files = [
    'binding.d.ts',
    'CHANGELOG.md',
    'CMakeLists.txt',
    'data',
    'dist',
    'docs',
    'examples',
    'native',
    'README.md',
    'schema',
    'scripts/build-native.mjs',
  ];
  const { private: _, scripts: __, devDependencies: ___, ...kept } = manifest;
  stage(
    'pcqat',
    (folder) => {
      for (const file of files)
        cpSync(path.join(root, file), path.join(folder, file), { recursive: true, filter: (source) => !source.endsWith('.tsbuildinfo') });
      copyHeaders(path.join(folder, 'native', 'include'));
    },
    {
      ...kept,
      bin: { ...kept.bin, 'pcqat-build': 'scripts/build-native.mjs' },
      optionalDependencies: Object.fromEntries(PLATFORMS.map((platform) => [`@pcqat/${platform}`, version])),
    },
  );
}

/** The Node-API headers (MIT), so that the source build of an installed package needs no development dependencies. */
function copyHeaders(target) {
  const modules = path.join(root, 'node_modules');
  mkdirSync(target, { recursive: true });
  for (const file of ['napi.h', 'napi-inl.h', 'LICENSE.md']) cpSync(path.join(modules, 'node-addon-api', file), path.join(target, file));
  cpSync(path.join(modules, 'node-api-headers', 'include'), target, { recursive: true });
}

function packNative(platform, suffix, source, file, what, strip) {
  const [os, cpu, libc] = platform.split('-');
  const name = `@pcqat/${platform}${suffix}`;
  stage(
    name,
    (folder) => {
      const target = path.join(folder, file);
      cpSync(source, target);
      execFileSync(strip, ['--strip-unneeded', target]);
      writeFileSync(
        path.join(folder, 'README.md'),
        `# ${name}\n\n${what} of [pcqat](https://www.npmjs.com/package/pcqat) for ${platform}.\n`,
      );
    },
    {
      name,
      version,
      description: `${what} of pcqat for ${platform}`,
      license,
      engines,
      author,
      repository,
      os: [os],
      cpu: [cpu],
      libc: [libc === 'gnu' ? 'glibc' : libc],
      files: [file],
    },
  );
}

mkdirSync(packages, { recursive: true });
if (options.platform !== undefined && options.addon !== undefined) {
  packNative(options.platform, '', options.addon, 'pcqat.node', 'The native core', options.strip);
} else {
  const platform = `${process.platform}-${process.arch}-gnu`;
  const release = path.join(root, 'build', 'Release');
  packMain();
  packNative(platform, '', path.join(release, 'pcqat.node'), 'pcqat.node', 'The native core', options.strip);
  const cuda = path.join(release, 'pcqat_cuda.so');
  if (existsSync(cuda)) packNative(platform, '-cuda', cuda, 'pcqat_cuda.so', 'The optional CUDA module', options.strip);
}
