import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { after, before, describe, it } from 'mocha';
import { certifyExport } from '#lib/evaluate/certify.js';
import { findForeignRuntime, type ForeignRuntime, loadForeignRuntime } from '#lib/evaluate/foreign.js';
import { verifyExport } from '#lib/evaluate/verify.js';
import { certificateText } from '#lib/formats/certificate/file.js';
import { type Certified, certifiedPcqat } from '../support/certified.js';
import { expectCode, expectRejection } from '../support/errors.js';
import { runTflite29 } from '../support/tflite29.js';

const int8 = (base64: string): Int8Array => new Int8Array(new Uint8Array(Buffer.from(base64, 'base64')).buffer);

describe('foreign runtimes', function () {
  this.timeout(120_000);
  let whole: Certified;
  let folder: string;
  before(async () => {
    whole = await certifiedPcqat();
    folder = mkdtempSync(path.join(tmpdir(), 'pcqat-foreign-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  /** A folder where the package is installed as said. */
  const installed = (name: string, addon?: string): string => {
    const root = path.join(folder, name);
    const at = path.join(root, 'node_modules', 'tfjs-tflite-node');
    mkdirSync(path.join(at, 'build', 'Release'), { recursive: true });
    writeFileSync(path.join(at, 'package.json'), '{ "name": "tfjs-tflite-node", "version": "9.8.7" }');
    if (addon !== undefined) writeFileSync(path.join(at, 'build', 'Release', 'node_tflite_binding.node'), addon);
    return root;
  };
  const runtimeAt = (root: string): ForeignRuntime => {
    const found = findForeignRuntime(root);
    if ('missing' in found) throw new Error(found.missing);
    return found.runtime;
  };

  describe('tfjs-tflite-node', () => {
    let runtime: ForeignRuntime;
    before(() => {
      runTflite29(whole.bytes, int8(whole.certificate.fidelity.probe.input)); // compiles the addon of this checkout
      runtime = loadForeignRuntime('tfjs-tflite-node');
    });

    it('is found in a checkout, and runs in a process of its own', async () => {
      expect(runtime).to.include({ name: 'tfjs-tflite-node', version: '0.0.2' });
      const input = int8(whole.certificate.fidelity.probe.input);
      expect(await runtime.run(whole.bytes, input)).to.deep.equal(runTflite29(whole.bytes, input));
    });

    it('is part of the certificate, and its differences come out again from file and certificate', async () => {
      const { model, bytes, data } = whole;
      const certificate = await certifyExport(model, bytes, { data });
      const { foreign, foreignMissing, probe } = certificate.fidelity;
      expect(foreignMissing).to.equal(null);
      expect(foreign).to.include({ name: 'tfjs-tflite-node', version: '0.0.2' });
      const steps = Array.from(int8(foreign!.output), (code, i) => Math.abs(code - int8(probe.output)[i]!));
      expect(foreign!.maxSteps).to.equal(Math.max(...steps));
      expect(foreign!.maxSteps).to.be.at.most(3);
      expect(foreign!.data).to.include({ rows: 40 });
      expect(foreign!.data.agreement).to.be.at.least(0.9);
      const { ok, fidelity } = await verifyExport(bytes, certificate);
      expect(ok).to.equal(true);
      expect(fidelity!.foreign).to.deep.equal({ meanSteps: foreign!.meanSteps, maxSteps: foreign!.maxSteps });
      const named = await certifyExport(model, bytes, { data, foreign: 'tfjs-tflite-node' });
      expect(certificateText(named)).to.equal(certificateText(certificate));
      certificate.fidelity.foreign!.maxSteps += 1;
      expect((await verifyExport(bytes, certificate)).mismatches[0]!.message).to.match(/foreign runtime: maxSteps/);
    });

    it('says what failed where it cannot run the file', async () => {
      await expectRejection(runtime.run(whole.bytes, new Int8Array(5)), 'ERR_UNSUPPORTED', /no whole rows/);
      await expectRejection(runtime.run(new Uint8Array(100), new Int8Array(128)), 'ERR_UNSUPPORTED', /could not run the file/);
    });

    it('stops when it is aborted', async () => {
      const controller = new AbortController();
      const running = runtime.run(whole.bytes, new Int8Array(128 * 200), { signal: controller.signal });
      controller.abort();
      const error = await running.then(
        () => expect.fail('resolved'),
        (reason: unknown) => reason,
      );
      expect((error as Error).name).to.equal('AbortError');
    });
  });

  it('is missing with a reason, and an error only where it was asked for by name', async () => {
    const nothing = path.join(folder, 'nothing');
    mkdirSync(nothing);
    expect(findForeignRuntime(nothing)).to.deep.equal({ missing: 'tfjs-tflite-node is not installed' });
    expect(findForeignRuntime(installed('uncompiled'))).to.deep.equal({
      missing: 'tfjs-tflite-node is installed, but its addon was not compiled',
    });
    expectCode(() => loadForeignRuntime('tfjs-tflite-node', nothing), 'ERR_MISSING_PEER', /not installed.*npm install tfjs-tflite-node/);
    expectCode(() => loadForeignRuntime('other' as 'tfjs-tflite-node'), 'ERR_OPTION', /'other'/);
    const { fidelity } = await certifyExport(whole.model, whole.bytes, { data: whole.data, foreign: 'none' });
    expect(fidelity).to.deep.include({ foreign: null, foreignMissing: 'none was asked for' });
  });

  it('never costs the certificate: a damaged addon, a crash, wrong outputs', async () => {
    const throwing = 'no addon at all';
    const runtimes: [ForeignRuntime, RegExp][] = [
      [runtimeAt(installed('damaged', throwing)), /^tfjs-tflite-node 9\.8\.7 failed: .*could not run the file/],
      [{ name: 'boom', version: '1', run: () => Promise.reject(new Error('went bang')) }, /^boom 1 failed: went bang/],
      [{ name: 'short', version: '2', run: () => Promise.resolve(new Int8Array(3)) }, /^short 2 failed: .*another length/],
      [{ name: 'odd', version: '3', run: () => Promise.resolve(undefined as unknown as Int8Array) }, /^odd 3 failed: /],
    ];
    for (const [foreign, expected] of runtimes) {
      const certificate = await certifyExport(whole.model, whole.bytes, { data: whole.data, foreign });
      expect(certificate.fidelity.foreign).to.equal(null);
      expect(certificate.fidelity.foreignMissing).to.match(expected);
      expect((await verifyExport(whole.bytes, certificate)).ok).to.equal(true);
    }
  });
});
