import { loadCuda, nativeInfo } from '../../native.js';

/** `pcqat info`. */
export function infoCommand(options: { readonly json: boolean }): void {
  const native = nativeInfo();
  const cuda = loadCuda();
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ ...native, node: process.version, cuda })}\n`);
    return;
  }
  const memory = cuda.memoryBytes === undefined ? '' : `, ${(cuda.memoryBytes / 2 ** 30).toFixed(1)} GiB`;
  const gpu = cuda.available
    ? `${cuda.device ?? 'present'} (compute capability ${cuda.computeCapability ?? '?'}, driver ${cuda.driverVersion ?? '?'}${memory})`
    : `off: ${cuda.reason ?? 'unknown reason'}`;
  const rows = [
    ['pcqat', native.version],
    ['node', process.version],
    ['instruction set', `${native.isa} (available: ${native.availableIsas.join(', ')}; PCQAT_ISA overrides)`],
    ['threads', String(native.threads)],
    ['compiler', native.compiler],
    ['addon', native.path],
    ['GPU module', gpu],
  ];
  process.stdout.write(`${rows.map(([label, value]) => `${label!.padEnd(16)}${value}`).join('\n')}\n`);
}
