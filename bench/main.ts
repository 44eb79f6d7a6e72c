import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { nativeInfo } from '#lib/native.js';
import { measureChain, measureCompression } from './compression.js';
import { measureGemm } from './gemm.js';
import { measureInference } from './inference.js';
import { measureKernels } from './kernels.js';
import { benchOptions, type Section } from './options.js';
import { measurePeak } from './peak.js';
import { findPython, RIVAL_PACKAGES, type Python } from './rivals/python.js';
import { measureScaling } from './scaling.js';
import { measureSteps } from './steps.js';
import { scalingPlot } from './text/scaling.js';
import { resultText, type BenchResult } from './text/result.js';

const options = benchOptions(process.argv.slice(2));
const native = nativeInfo();
const { threads = native.threads, seconds, nets, stages } = options;
const wide = native.isa.startsWith('avx512');
const note = (text: string): void => void process.stderr.write(`${text}\n`);

/** The Python of the rivals. Without one, or without rivals in it, ours runs alone. */
function rivalPython(): Python | undefined {
  if (!options.rivals) return undefined;
  const python = findPython(options.python);
  if (python === undefined) note('No Python runs (--python, PCQAT_PYTHON or python3): no rivals.');
  else {
    const missing = RIVAL_PACKAGES.filter((name) => !python.packages.has(name));
    if (missing.length > 0) note(`${python.path} has no ${missing.join(', no ')}: without the rivals that need it.`);
  }
  return python;
}

/** What `measure` gives, as a member of the result, if the section is wanted. */
async function section<Name extends Section, T>(name: Name, measure: () => T | Promise<T>): Promise<{ [key in Name]?: T }> {
  if (!options.sections.has(name)) return {};
  note(name);
  const start = performance.now();
  const value = await measure();
  note(`${name}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
  return { [name]: value } as { [key in Name]?: T };
}

const python = rivalPython();
const peak = options.sections.has('peak') ? measurePeak(threads) : undefined;
const result: BenchResult = {
  machine: { cpu: cpus()[0]?.model ?? 'unknown', threads, isa: native.isa, node: process.versions.node, pcqat: native.version },
  ...(peak === undefined ? {} : { peak }),
  ...(await section('steps', () => measureSteps({ nets, stages, threads, seconds, python, wide, note }))),
  ...(await section('gemm', () => measureGemm({ nets, threads, seconds: seconds / 20, python, wide, note }))),
  ...(await section('kernels', () => measureKernels(threads, seconds / 5))),
  ...(await section('inference', () => measureInference({ nets, threads, seconds: seconds / 5, python, note }))),
  ...(await section('compression', async () => ({
    kernels: await measureCompression(seconds / 2),
    chain: await measureChain(threads, seconds),
  }))),
  ...(await section('scaling', () => measureScaling({ stages, threads, seconds: seconds / 10, note }))),
  peakRssBytes: process.resourceUsage().maxRSS * 1024,
};
if (options.plot !== undefined && result.scaling !== undefined) writeFileSync(options.plot, scalingPlot(result.scaling));
process.stdout.write(`${options.json ? JSON.stringify(result) : resultText(result)}\n`);
