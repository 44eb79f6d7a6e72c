import { expect } from 'chai';
import { before, describe, it } from 'mocha';
import { assertFidelity, type Fidelity, measureFidelity } from '#lib/evaluate/fidelity.js';
import { readTflite } from '#lib/formats/tflite/read.js';
import type { TfliteModel } from '#lib/formats/tflite/types.js';
import { type Certified, certifiedPcqat, smallFloat } from '../support/certified.js';
import { expectCode, expectRejection } from '../support/errors.js';

describe('measureFidelity', () => {
  let whole: Certified;
  let file: TfliteModel;
  before(async () => {
    whole = await certifiedPcqat();
    file = readTflite(whole.bytes);
  });

  it('finds what the certificate states', async () => {
    const { layers, ...total } = await measureFidelity(whole.model, file, whole.data);
    const { data, fakeQuant } = whole.certificate.fidelity.simulation!;
    expect(total).to.deep.equal({ ...data, fakeQuant });
    expect(layers.map(({ name }) => name)).to.deep.equal(['relu1', 'relu_dw', 'conv2_relu', 'pool', 'relu2', 'logits']);
    for (const { name, largestDifference } of layers) expect(largestDifference, name).to.be.below(1e-3);
  });

  it('shows the layer at which a file departs from the simulation', async () => {
    // one bias of conv2 moved by 40 steps of its output
    const conv2 = file.operators.find(({ outputs }) => file.tensors[outputs[0]!]!.name === 'conv2_relu')!;
    const [bias, output] = [file.tensors[conv2.inputs[2]!]!, file.tensors[conv2.outputs[0]!]!];
    const values = new Int32Array(bias.data!.slice().buffer);
    values[3]! += Math.round((40 * output.scale[0]!) / bias.scale[3]!);
    const tensors = file.tensors.map((one) => (one === bias ? { ...one, data: new Uint8Array(values.buffer) } : one));
    const { layers, meanSteps } = await measureFidelity(whole.model, { ...file, tensors }, whole.data);
    for (const { largestDifference } of layers.slice(0, 2)) expect(largestDifference).to.be.below(1e-3);
    expect(layers.find(({ name }) => name === 'conv2_relu')!.largestDifference).to.be.above(30);
    expect(meanSteps).to.be.above(whole.certificate.fidelity.simulation!.data.meanSteps);
    const fidelity = await measureFidelity(whole.model, { ...file, tensors }, whole.data);
    expectCode(() => assertFidelity(fidelity, { agreement: 1, meanSteps: 0.1 }), 'ERR_INVARIANT', /layer 'conv2_relu'/);
  });

  it('refuses a model without fake quantization, and bad data', async () => {
    await expectRejection(measureFidelity(smallFloat(), file, whole.data), 'ERR_OPTION', /no fake quantization/);
    await expectRejection(measureFidelity(whole.model, file, { ...whole.data, size: 0 }), 'ERR_EMPTY_DATA');
    await expectRejection(measureFidelity(whole.model, file, { ...whole.data, size: 39 }), 'ERR_SHAPE');
  });
});

describe('assertFidelity', () => {
  const measured = (change: Partial<Fidelity> = {}): Fidelity => ({
    rows: 1000,
    agreement: 0.999,
    meanSteps: 0.999,
    maxSteps: 9,
    fakeQuant: { rows: 1000, agreement: 0, meanSteps: 99, maxSteps: 99 }, // the gate is not about it
    layers: [
      { name: 'first', largestDifference: 1 },
      { name: 'second', largestDifference: 2 },
      { name: 'third', largestDifference: 2.5 },
      { name: 'fourth', largestDifference: 8 },
    ],
    ...change,
  });

  it('passes at the limits', () => {
    assertFidelity(measured());
    assertFidelity(measured({ agreement: 0.5, meanSteps: 3 }), { agreement: 0.5, meanSteps: 3.1 });
  });

  it('names the first layer that is more than two steps away', () => {
    expectCode(() => assertFidelity(measured({ agreement: 0.998 })), 'ERR_INVARIANT', /998 of 1000 rows.*layer 'third'/);
    expectCode(() => assertFidelity(measured({ meanSteps: 1 })), 'ERR_INVARIANT', /1 steps of the output.*layer 'third'/);
    expectCode(() => assertFidelity(measured({ meanSteps: NaN })), 'ERR_INVARIANT', /layer 'third'/);
  });

  it('else the one that differs most; none where there is none', () => {
    const layers = measured().layers.slice(0, 2);
    expectCode(() => assertFidelity(measured({ agreement: 0, layers })), 'ERR_INVARIANT', /layer 'second'/);
    expectCode(() => assertFidelity(measured({ agreement: 0, layers: [] })), 'ERR_INVARIANT', /0 of 1000 rows/);
  });

  it('takes a certificate', async () => {
    const { certificate } = await certifiedPcqat();
    assertFidelity(certificate, { agreement: certificate.fidelity.simulation!.data.agreement });
    const bad = structuredClone(certificate);
    bad.fidelity.simulation!.data.agreement = 0.5;
    bad.layers[2]!.largestDifference = 7;
    expectCode(() => assertFidelity(bad), 'ERR_INVARIANT', /20 of 40 rows.*layer 'conv2'/);
    const none = structuredClone(certificate);
    none.fidelity.simulation = null;
    none.fidelity.simulationMissing = 'reasons';
    expectCode(() => assertFidelity(none), 'ERR_OPTION', /reasons/);
  });
});
