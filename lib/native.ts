import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Binding, BuildInfo, CudaInfo } from '../binding.js';
import { PcqatError } from './errors.js';

/** The native core in use: what it was built as, and which file it came from. */
export interface NativeInfo extends BuildInfo {
  /** Absolute path of the addon. */
  readonly path: string;
}

interface Candidate {
  /** As shown in the error message. */
  label(): string;
  /** Absolute path of the addon; throws when there is none. */
  locate(): string;
}

interface Loaded {
  readonly binding: Binding;
  readonly path: string;
}

const require = createRequire(import.meta.url);
const packageRoot = fileURLToPath(new URL('..', import.meta.url));
const { version } = require('../package.json') as { version: string };
const CUDA_MODULE = 'pcqat_cuda.so';

// One module instance per thread, so this is a cache per Node environment.
let loaded: Loaded | undefined;

/**
 * The native core. Loaded at the first call, then cached for the thread.
 *
 * Looks at `PCQAT_ADDON` (a path; nothing else is tried when it is set), then at the build of a source checkout
 * (`build/Release/pcqat.node`), then at the package of this platform, for example `@pcqat/linux-x64-gnu`.
 *
 * @throws PcqatError `ERR_NATIVE_MISSING` that lists every place looked at and why it did not serve;
 *   `ERR_ISA` when `PCQAT_ISA` names an instruction set that the build or the CPU lacks.
 */
export function loadBinding(): Binding {
  return load().binding;
}

/**
 * Version, instruction sets, threads and file of the native core.
 *
 * @throws PcqatError `ERR_NATIVE_MISSING`, `ERR_ISA` as when the core is first used.
 *
 * @example
 * ```ts
 * import { nativeInfo } from 'pcqat';
 * const { version, isa, threads } = nativeInfo();
 * console.log(`pcqat ${version} on ${isa} with ${threads} threads`);
 * ```
 */
export function nativeInfo(): NativeInfo {
  const { binding, path } = load();
  return { ...binding.buildInfo(), path };
}

/**
 * Loads the optional CUDA module, from beside the addon or from its own package (`@pcqat/linux-x64-gnu-cuda`), and says
 * what it found. Nothing loads it unless this is called. Without a module, a driver or a GPU, `available` is `false` and
 * `reason` says why.
 *
 * @throws PcqatError `ERR_NATIVE_MISSING` when there is no native core at all.
 *
 * @example
 * ```ts
 * import { loadCuda } from 'pcqat';
 * const cuda = loadCuda();
 * console.log(cuda.available ? cuda.device : cuda.reason);
 * ```
 */
export function loadCuda(): CudaInfo {
  const { binding, path: addon } = load();
  const beside = path.join(path.dirname(addon), CUDA_MODULE);
  if (existsSync(beside)) return binding.loadCuda(beside);
  const name = `${platformPackage()}-cuda`;
  try {
    return binding.loadCuda(require.resolve(`${name}/${CUDA_MODULE}`));
  } catch (error) {
    if (!isNodeError(error) || error.code !== 'MODULE_NOT_FOUND') throw error;
    return { available: false, reason: `The CUDA module is not installed (no ${beside}, no package ${name}).` };
  }
}

function load(): Loaded {
  if (loaded !== undefined) return loaded;
  const failures: string[] = [];
  for (const candidate of candidates()) {
    try {
      loaded = open(candidate.locate());
      return loaded;
    } catch (error) {
      if (error instanceof PcqatError) throw error;
      failures.push(`${candidate.label()}: ${explain(error)}`);
    }
  }
  const list = failures.map((failure) => `\n  - ${failure}`).join('');
  throw new PcqatError('ERR_NATIVE_MISSING', `The native core of pcqat ${version} could not be loaded on ${platformName()}:${list}`, {
    remedy:
      'Install again without --omit=optional (and without a lock file made for another platform) so that npm adds the platform package; ' +
      'or build from source with `npx pcqat-build` (in a checkout: `npm run build:native`), which needs CMake and a C++17 compiler.',
  });
}

function candidates(): readonly Candidate[] {
  const override = process.env['PCQAT_ADDON'];
  if (override) return [{ label: () => `PCQAT_ADDON=${override}`, locate: () => existing(path.resolve(override)) }];
  const build = path.join(packageRoot, 'build', 'Release', 'pcqat.node');
  return [
    { label: () => `source build ${build}`, locate: () => existing(build) },
    { label: () => `package ${platformPackage()}`, locate: () => require.resolve(`${platformPackage()}/pcqat.node`) },
  ];
}

function existing(file: string): string {
  if (!existsSync(file)) throw new Error('there is no such file (not built).');
  return file;
}

function open(file: string): Loaded {
  if (process.platform === 'linux') checkElf(file);
  // Not require(): that would run any other file as JavaScript.
  const module: { exports: Partial<Binding> } = { exports: {} };
  process.dlopen(module, file);
  const binding = module.exports;
  if (typeof binding.setErrorClass !== 'function' || typeof binding.buildInfo !== 'function') {
    throw new Error('the file is an addon, but not that of pcqat.');
  }
  binding.setErrorClass(PcqatError as new (code: string, message: string) => Error);
  const built = binding.buildInfo().version;
  if (built !== version)
    throw new Error(`it is version ${built}, but version ${version} is needed: rebuild it, or install matching versions.`);
  return { binding: binding as Binding, path: file };
}

const ELF_HEADER_BYTES = 64;
const ELF_MACHINE: Partial<Record<NodeJS.Architecture, number>> = { x64: 62, arm64: 183 };

/** The dynamic loader maps a truncated file and dies with SIGBUS, so the header is checked first. */
function checkElf(file: string): void {
  const header = Buffer.alloc(ELF_HEADER_BYTES);
  const descriptor = openSync(file, 'r');
  try {
    const read = readSync(descriptor, header, 0, ELF_HEADER_BYTES, 0);
    if (read < ELF_HEADER_BYTES || header.toString('latin1', 0, 4) !== '\x7fELF')
      throw new Error('the file is damaged, or is no addon for Linux.');
    const machine = ELF_MACHINE[process.arch];
    if (machine !== undefined && header.readUInt16LE(18) !== machine)
      throw new Error(`it was built for another CPU architecture than ${process.arch}.`);
    // Linkers write the section table last.
    const end = Number(header.readBigUInt64LE(40)) + header.readUInt16LE(58) * header.readUInt16LE(60);
    if (fstatSync(descriptor).size < end) throw new Error('the file is truncated.');
  } finally {
    closeSync(descriptor);
  }
}

/** Turns what `require` throws into what it means. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const firstLine = error.message.split('\n')[0] ?? '';
  const code = isNodeError(error) ? error.code : undefined;
  if (code === 'MODULE_NOT_FOUND') {
    return 'not installed (optional dependencies were omitted, the lock file is from another platform, or there is no build for this one).';
  }
  if (code !== 'ERR_DLOPEN_FAILED') return firstLine;
  return `${dlopenCause(firstLine)} [${firstLine}]`;
}

const DLOPEN_CAUSES: readonly (readonly [RegExp, string])[] = [
  [/GLIBC_[\d.]+'? not found/, 'it needs a newer glibc than this system has.'],
  [/(GLIBCXX|CXXABI)_[\d.]+'? not found/, 'it needs a newer libstdc++ than this system has.'],
  [/ld-linux|ld-musl|libc\.musl/, 'it was built for another C library (glibc or musl).'],
  [
    /wrong ELF class|ELF file's machine|incompatible architecture|cannot open shared object file: No such file or directory: .*ld-|not a valid Win32/,
    'it was built for another CPU architecture.',
  ],
  [
    /invalid ELF header|file too short|slice is not valid|ELF load command|not a mach-o/i,
    'the file is damaged, or is no addon for this platform.',
  ],
  [/cannot open shared object file/, 'a shared library that it needs is missing.'],
];

function dlopenCause(message: string): string {
  return DLOPEN_CAUSES.find(([pattern]) => pattern.test(message))?.[1] ?? 'the system could not load it.';
}

/** The package that carries the addon for this platform, e.g. `@pcqat/linux-x64-gnu`. */
function platformPackage(): string {
  return `@pcqat/${platformName()}`;
}

function platformName(): string {
  const name = `${process.platform}-${process.arch}`;
  return process.platform === 'linux' ? `${name}-${usesGlibc() ? 'gnu' : 'musl'}` : name;
}

function usesGlibc(): boolean {
  // The report is the only place where Node says which C library it runs on. Its network part can take seconds.
  const report = Object.assign(process.report, { excludeNetwork: true });
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return header?.glibcVersionRuntime !== undefined;
}

function isNodeError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error;
}
