import { expect } from 'chai';
import { describe, it } from 'mocha';
import { exampleNet } from './example-net.js';
import { adam, uniform } from './support.js';

const MS = 100;

/** Training steps one after another for {@link MS}, and those during which no other event had its turn. */
async function train(onStart: (stop: () => boolean) => void): Promise<{ steps: number; atOnce: number }> {
  const session = exampleNet().session({ maxBatch: 4, optimizer: adam });
  const x = uniform(64, 1);
  const end = performance.now() + MS;
  const isOver = (): boolean => performance.now() >= end;
  onStart(isOver);
  let [steps, atOnce] = [0, 0];
  while (!isOver()) {
    let turns = 0;
    const immediate = setImmediate(() => turns++);
    await session.trainStep(x, Int32Array.of(0, 1), { learningRate: 0.001, step: ++steps });
    if (turns === 0) atOnce++;
    clearImmediate(immediate);
  }
  session.dispose();
  return { steps, atOnce };
}

describe('Short training steps', () => {
  it('run beside a call that is under way', async () => {
    const session = exampleNet().session({ maxBatch: 4, optimizer: adam });
    const x = uniform(64, 1);
    const step = (one: typeof session): Promise<unknown> => one.trainStep(x, Int32Array.of(0, 1), { learningRate: 0.001, step: 1 });
    for (let i = 0; i < 20; i++) {
      await step(session);
      const other = exampleNet().session({ maxBatch: 4, optimizer: adam });
      const both = Promise.all([step(other), step(session)]);
      expect(() => session.getTensor(0))
        .to.throw()
        .with.property('code', 'ERR_SESSION_BUSY');
      await both;
      other.dispose();
    }
    session.dispose();
  });

  it('run before the call returns', async () => {
    const { steps, atOnce } = await train(() => undefined);
    expect(atOnce).to.be.within(1, steps - 1);
  });

  it('leave other events their turn', async () => {
    let timers = 0;
    await train((isOver) => {
      const next = (): void => {
        if (isOver()) return;
        timers++;
        setTimeout(next, 0);
      };
      setTimeout(next, 0);
    });
    expect(timers).to.be.above(3);
  });
});
