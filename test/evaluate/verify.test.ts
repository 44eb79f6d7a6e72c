import { isDeepStrictEqual } from 'node:util';
import { expect } from 'chai';
import { before, describe, it } from 'mocha';
import { verifyExport } from '#lib/evaluate/verify.js';
import { certificateText, parseCertificate } from '#lib/formats/certificate/file.js';
import type { ExportCertificate } from '#lib/formats/certificate/schema.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { encodeTflite } from '#lib/formats/tflite/write.js';
import { type Certified, certifiedPcqat } from '../support/certified.js';
import { expectRejection } from '../support/errors.js';

describe('verifyExport', () => {
  let whole: Certified;
  let file: TfliteModel;
  before(async () => {
    whole = await certifiedPcqat();
    file = readTflite(whole.bytes);
  });

  const copy = (): ExportCertificate => structuredClone(whole.certificate);
  const changed = (change: (certificate: ExportCertificate) => void): ExportCertificate => {
    const certificate = copy();
    change(certificate);
    return certificate;
  };
  const messages = async (bytes: Uint8Array, certificate = whole.certificate): Promise<string[]> =>
    (await verifyExport(bytes, certificate)).mismatches.map(({ kind, name, message }) => `${kind} ${name}: ${message}`);
  /** The file with one byte changed at a place in a tensor's data. */
  const flipped = (at: number): Uint8Array => whole.bytes.with(at, whole.bytes[at]! ^ 0x10);
  const tensor = (name: string): TfliteModel['tensors'][number] => file.tensors.find((one) => one.name === name)!;

  it('accepts the file, for certificates from memory and from disk', async () => {
    for (const certificate of [whole.certificate, parseCertificate(certificateText(whole.certificate))]) {
      const { ok, mismatches, layers, fidelity } = await verifyExport(whole.bytes, certificate);
      expect(mismatches).to.deep.equal([]);
      expect(ok).to.equal(true);
      expect(layers.map(({ name, ok, codes }) => [name, ok, codes])).to.deep.equal(
        certificate.layers.map(({ name, codes }) => [name, true, codes]),
      );
      const { meanSteps, maxSteps } = certificate.fidelity.simulation!;
      expect(fidelity).to.deep.equal({ simulation: { meanSteps, maxSteps } });
    }
  });

  it('notices every changed byte, and names what it belongs to', async function () {
    this.timeout(180_000);
    const { bytes, certificate } = whole;
    const named = new Set<string>();
    const owners = file.tensors.flatMap(({ name, data }) =>
      data === undefined ? [] : [{ name, from: data.byteOffset, to: data.byteOffset + data.length }],
    );
    const base = file.tensors.find(({ data }) => data)!.data!.buffer === bytes.buffer ? bytes.byteOffset : 0;
    for (let at = 0; at < bytes.length; at++) {
      for (const bit of [0x01, 0x80]) {
        const tampered = bytes.with(at, bytes[at]! ^ bit);
        const { ok, mismatches } = await verifyExport(tampered, certificate);
        const where = `byte ${at}`;
        expect(ok, where).to.equal(false);
        const owner = owners.find(({ from, to }) => at + base >= from && at + base < to)?.name;
        let read: TfliteModel | undefined;
        try {
          read = readTflite(tampered);
        } catch {
          expect(mismatches, where).to.have.lengthOf(1);
          expect(mismatches[0]!.message, where).to.match(/cannot be read: .+/);
          expect(owner, where).to.equal(undefined);
          continue;
        }
        const { description: _, ...content } = read;
        const { description: __, ...original } = file;
        const others = mismatches.filter(({ kind }) => kind !== 'file');
        if (isDeepStrictEqual(content, original)) {
          expect(
            mismatches.map(({ kind }) => kind),
            where,
          ).to.deep.equal(['file']);
          expect(mismatches[0]!.message, where).to.match(/hash differs, though all layers/);
        } else if (!isDeepStrictEqual([content.inputs, content.outputs], [original.inputs, original.outputs])) {
          expect(mismatches.length, where).to.be.above(1);
        } else {
          expect(others, where).not.to.have.lengthOf(0);
          for (const { kind, name } of others) named.add(`${kind} ${name}`);
        }
        if (owner !== undefined) {
          const [layer, part] = owner.split('/');
          const isLayer = part === 'kernel' || part === 'bias';
          expect(
            others.every(({ kind, name }) => (isLayer ? kind === 'layer' && name === layer : kind === 'tensor' && name === owner)),
            where,
          ).to.equal(true);
          if (isLayer)
            expect(
              others.some(({ message }) => message === `${part}: the data differ`),
              where,
            ).to.equal(true);
        }
      }
    }
    for (const layer of ['conv1', 'dw', 'conv2', 'hidden', 'logits']) expect([...named]).to.include(`layer ${layer}`);
    for (const name of ['input', 'relu1', 'relu_dw', 'pool', 'hidden/image/shape', 'logits'])
      expect([...named]).to.include(`tensor ${name}`);
    expect([...named]).to.include('operator pool');
  });

  it('says what of a layer changed', async () => {
    const offset = (name: string): number =>
      tensor(name).data!.byteOffset - (tensor(name).data!.buffer === whole.bytes.buffer ? whole.bytes.byteOffset : 0);
    expect(await messages(flipped(offset('conv2/kernel')))).to.include('layer conv2: kernel: the data differ');
    expect(await messages(flipped(offset('dw/bias')))).to.deep.equal(["file : the file's hash differs", 'layer dw: bias: the data differ']);
  });

  const rewritten = (change: (model: TfliteModel) => TfliteModel): Uint8Array => encodeTflite(change(readTflite(whole.bytes)));
  const withTensor = (name: string, change: object): Uint8Array =>
    rewritten((model) => ({ ...model, tensors: model.tensors.map((one) => (one.name === name ? { ...one, ...change } : one)) }));
  const withOperator = (output: string, change: (options: object) => object): Uint8Array =>
    rewritten((model) => ({
      ...model,
      operators: model.operators.map((one) => (model.tensors[one.outputs[0]!]!.name === output ? { ...one, ...change(one) } : one)),
    }));

  it('names scales, zero points, options, versions and names', async () => {
    const scale = tensor('conv1/kernel').scale;
    for (const [bytes, expected] of [
      [withTensor('conv1/kernel', { scale: scale.with(2, scale[2]! * 1.01) }), /^layer conv1: kernel: the scales differ$/],
      [withTensor('conv1/kernel', { zeroPoint: new Int32Array(6).with(5, 1) }), /^layer conv1: kernel: the zero points differ$/],
      [withTensor('conv2/bias', { scale: tensor('conv2/bias').scale.map((one) => one * 2) }), /^layer conv2: bias: the scales differ$/],
      [withTensor('relu1', { scale: Float32Array.of(0.5) }), /^tensor relu1: the scale is 0.5, certified 0\.\d+$/],
      [withTensor('relu_dw', { zeroPoint: Int32Array.of(3) }), /^tensor relu_dw: the zero point is 3, certified -128$/],
      [withTensor('pool', { name: 'pond' }), /^tensor pool: the name is pond, certified pool$/],
      [withTensor('logits/kernel', { name: 'wrong/kernel' }), /^layer logits: the name is wrong, certified logits$/],
      [withTensor('logits/kernel', { shape: [6, 4] }), /^layer logits: kernel: the shape is \[6, 4\], certified \[4, 6\]$/],
      [
        withOperator('conv2_relu', (one) => ({ options: { ...(one as { options: object }).options, strideW: 1 } })),
        /^layer conv2: the option strideW is 1, certified 2$/,
      ],
      [
        withOperator('conv2_relu', (one) => ({ options: { ...(one as { options: object }).options, fusedActivationFunction: 'NONE' } })),
        /^layer conv2: the option fusedActivationFunction is NONE, certified RELU$/,
      ],
      [withOperator('pool', () => ({ version: 1 })), /^operator pool: the operator's version is 1, certified 2$/],
      [withOperator('pool', () => ({ options: { keepDims: true } })), /^operator pool: the option keepDims is true, certified false$/],
    ] as const) {
      const found = await messages(bytes);
      expect(
        found.some((message) => expected.test(message)),
        `${String(expected)} in ${found.join('; ')}`,
      ).to.equal(true);
    }
  });

  it('finds operators, tensors and layers that were added or removed', async () => {
    const without = rewritten((model) => ({ ...model, operators: model.operators.slice(0, -1) }));
    expect(await messages(without)).to.include.members([
      'layer logits: the file does not have it',
      'layer logits: the file does not have the operator',
    ]);
    expect(
      await messages(
        whole.bytes,
        changed(({ layers }) => layers.pop()),
      ),
    ).to.include('layer logits: the certificate does not have it');
    expect(
      await messages(
        whole.bytes,
        changed(({ tensors }) => tensors.pop()),
      ),
    ).to.have.lengthOf(1);
    const swapped = rewritten((model) => ({ ...model, outputs: [model.operators.at(-2)!.outputs[0]!] }));
    expect(await messages(swapped)).to.include("file : the model's outputs are other tensors");
  });

  it('says that only the hash differs for bytes that no runtime uses', async () => {
    const described = rewritten((model) => ({ ...model, description: 'tampa' }));
    expect(described).to.have.lengthOf(whole.bytes.length);
    const { ok, mismatches, layers } = await verifyExport(described, whole.certificate);
    expect(ok).to.equal(false);
    expect(mismatches).to.have.lengthOf(1);
    expect(mismatches[0]!.message).to.match(/the file's hash differs, though all layers/);
    expect(layers.every((layer) => layer.ok)).to.equal(true);
    const longer = new Uint8Array(whole.bytes.length + 4);
    longer.set(whole.bytes);
    expect((await messages(longer))[0]).to.match(/the file has \d+ bytes, certified \d+, though all layers/);
  });

  it('rejects figures of the certificate that do not come out again', async () => {
    const { bytes } = whole;
    for (const [change, expected] of [
      [(c) => (c.layers[0]!.zerosAfter -= 1), /^layer conv1: the number of zeros is/],
      [(c) => (c.layers[0]!.codes = 5), /^layer conv1: the number of distinct codes is/],
      [(c) => (c.layers[2]!.codebook as number[]).pop(), /^layer conv2: the codebook differs/],
      [(c) => (c.layers[2]!.zerosBefore = 400), /^layer conv2: \d+ weights were zero but only \d+ are in the file/],
      [(c) => (c.layers[2]!.clusters = 2), /^layer conv2: it has \d distinct codes but 2 clusters/],
      [(c) => (c.fidelity.simulation!.maxSteps += 0.5), /^fidelity : the simulation: maxSteps on the probe is/],
      [(c) => (c.fidelity.simulation!.meanSteps = 0.9), /^fidelity : the simulation: meanSteps on the probe is/],
      [(c) => (c.fidelity.probe.output = `A${c.fidelity.probe.output.slice(1)}`), /^fidelity : our executor gives other outputs/],
      [(c) => (c.fidelity.simulation!.output = c.fidelity.simulation!.output.slice(0, -4)), /^fidelity : the output of the simulation has/],
      [(c) => (c.fidelity.probe.rows = 15), /^fidelity : the input of the probe has 2048 values but must have 1920/],
    ] as [(certificate: ExportCertificate) => unknown, RegExp][]) {
      const found = await messages(bytes, changed(change));
      expect(
        found.some((message) => expected.test(message)),
        `${String(expected)} in ${found.join('; ')}`,
      ).to.equal(true);
    }
  });

  it('reports the certificate of another file, and bytes that are no file', async () => {
    const other = await certifiedPcqat(true);
    const { ok, mismatches } = await verifyExport(other.bytes, whole.certificate);
    expect(ok).to.equal(false);
    expect(mismatches.map(({ name }) => name)).to.include.members(['', 'conv1', 'conv2']);
    for (const bytes of [new Uint8Array(0), new TextEncoder().encode('no .tflite file at all'), whole.bytes.subarray(0, 200)]) {
      expect(await messages(bytes)).to.have.lengthOf(1);
      expect((await messages(bytes))[0]).to.match(/^file : the file cannot be read: Not a valid .tflite file/);
    }
  });

  it('refuses what is no certificate', async () => {
    await expectRejection(verifyExport(whole.bytes, {} as ExportCertificate), 'ERR_FORMAT');
    await expectRejection(verifyExport('bytes' as unknown as Uint8Array, whole.certificate), 'ERR_DTYPE');
    const version2 = { ...copy(), version: 2 } as unknown as ExportCertificate;
    await expectRejection(verifyExport(whole.bytes, version2), 'ERR_UNSUPPORTED', /version 2/);
  });
});
