import { expect } from 'chai';
import { describe, it } from 'mocha';
import { expectSame, loadGolden, type GoldenArray } from '../support/golden.js';
import { binding, Net } from './support.js';

interface Step {
  readonly x: GoldenArray;
  readonly y: GoldenArray;
  readonly min: GoldenArray;
  readonly max: GoldenArray;
  readonly dy?: GoldenArray;
  readonly dx?: GoldenArray;
}
interface Recording {
  readonly initMin: number;
  readonly initMax: number;
  readonly steps: readonly Step[];
  readonly inferenceOnLastX?: GoldenArray;
}

/** Feeds a recording to a network of one fake quantization and compares ranges, outputs and gradients. */
async function replay(recording: Recording, update: 'movingAverage' | 'runningMinMax', isa: (typeof isas)[number]): Promise<void> {
  const width = recording.steps[0]!.x.shape.at(-1)!;
  const net = new Net([width]);
  const min = net.state('min', [1], Float32Array.of(recording.initMin));
  const max = net.state('max', [1], Float32Array.of(recording.initMax));
  net.meanSquaredError(net.add(0, [width], { op: 'fakeQuant', fakeQuant: { min, max, update } }));
  const session = net.session({ isa });
  for (const [i, step] of recording.steps.entries()) {
    const y = await session.forward(step.x.data, { mode: 'training', step: i + 1 });
    const range = { min: session.getTensor(min) as Float32Array, max: session.getTensor(max) as Float32Array };
    expectSame(range.min, step.min.data, `step ${i}: min`);
    expectSame(range.max, step.max.data, `step ${i}: max`);
    expectSame(y, step.y.data, `step ${i}: y`);
    if (step.dy === undefined || step.dx === undefined) continue;
    const dx = new Float32Array(step.dx.data.length);
    binding.fakeQuantizeGradient(step.dy.data, step.x.data, range.min, range.max, 8, false, dx, isa);
    expectSame(dx, step.dx.data, `step ${i}: dx`);
  }
  if (recording.inferenceOnLastX !== undefined) {
    expectSame(await session.forward(recording.steps.at(-1)!.x.data), recording.inferenceOnLastX.data, 'inference');
  }
  session.dispose();
}

const isas = binding.buildInfo().availableIsas;

describe('activation ranges', () => {
  const golden = loadGolden<{ readonly movingAverage: readonly Recording[]; readonly allValues: readonly Recording[] }>('fake-quant');

  for (const isa of isas) {
    it(`moving average on ${isa}: ten recorded steps from ±6, 0 ulp (spec 3.4)`, async () => {
      expect(golden.movingAverage).to.have.length(4);
      for (const recording of golden.movingAverage) await replay(recording, 'movingAverage', isa);
    });

    it(`running minimum and maximum on ${isa}: recorded steps from 0/0, 0 ulp (spec 3.4)`, async () => {
      expect(golden.allValues).to.have.length(3);
      for (const recording of golden.allValues) await replay(recording, 'runningMinMax', isa);
    });
  }

  it('Q9: [−1, 1] then [0, 0] from 0/0 gives ∓.000999; AllValues of [−5, 1], [−1, 5] gives (−5, 5)', async () => {
    for (const [update, first, second, low, high] of [
      ['movingAverage', [-1, 1], [0, 0], -0.000999, 0.000999],
      ['runningMinMax', [-5, 1], [-1, 5], -5, 5],
    ] as const) {
      const net = new Net([2]);
      const min = net.state('min', [1], Float32Array.of(0));
      const max = net.state('max', [1], Float32Array.of(0));
      net.meanSquaredError(net.add(0, [2], { op: 'fakeQuant', fakeQuant: { min, max, update } }));
      const session = net.session();
      await session.forward(Float32Array.from(first), { mode: 'training', step: 1 });
      await session.forward(Float32Array.from(second), { mode: 'training', step: 2 });
      expect(session.getTensor(min)[0]).to.be.closeTo(low, 1e-9);
      expect(session.getTensor(max)[0]).to.be.closeTo(high, 1e-9);
      session.dispose();
    }
  });
});
