import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'mocha';
import { Worker } from 'node:worker_threads';
import { addonPath } from './support.js';

/** CommonJS for a worker or child process: a net whose step takes some tens of milliseconds. */
const prelude = `
  const binding = require(${JSON.stringify(addonPath)});
  const open = () => {
    const parameter = (name, shape) => ({ name, shape, dtype: 'f32', trainable: true });
    const session = new binding.Session({
      tensors: [parameter('a', [400, 800]), parameter('b', [800, 10])],
      values: [{ name: 'x', shape: [400] }, { name: 'h', shape: [800] }, { name: 'y', shape: [10] }],
      instructions: [
        { op: 'dense', name: 'first', input: 0, output: 1, kernel: 0, activation: 'relu' },
        { op: 'dense', name: 'second', input: 1, output: 2, kernel: 1 },
      ],
      chains: [], input: 0, output: 2, loss: { kind: 'softmaxCrossEntropy', logits: 2, labels: 'sparse' },
    }, { maxBatch: 64, training: true, threads: 2, optimizer: { kind: 'sgd', momentum: 0, nesterov: false } });
    session.setTensor(0, Float32Array.from({ length: 320000 }, (_, i) => ((i * 7919) % 101) / 1010 - 0.05));
    session.setTensor(1, Float32Array.from({ length: 8000 }, (_, i) => ((i * 104729) % 97) / 970 - 0.05));
    return session;
  };
  const x = Float32Array.from({ length: 64 * 400 }, (_, i) => (i % 13) / 13);
  const y = Int32Array.from({ length: 64 }, (_, i) => i % 10);
  const step = (session, t) => session.trainStep(x, y, { learningRate: 0.1, step: t });
`;

function start(body: string): Worker {
  return new Worker(`const { parentPort } = require('node:worker_threads'); ${prelude} ${body}`, { eval: true });
}

const message = (worker: Worker): Promise<unknown> =>
  new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });

describe('Sessions in worker_threads and at exit', () => {
  it('run in several threads at once with equal results', async () => {
    const workers = [1, 2, 3].map(() =>
      start(`(async () => {
        const sessions = [open(), open()];
        const losses = [];
        for (let t = 1; t <= 3; ++t) for (const r of await Promise.all(sessions.map((s) => step(s, t)))) losses.push(r.loss);
        parentPort.postMessage(losses);
      })();`),
    );
    const [first, ...others] = (await Promise.all(workers.map(message))) as number[][];
    expect(first[4]).to.be.below(first[0]);
    expect(first[1]).to.equal(first[0]);
    for (const other of others) expect(other).to.deep.equal(first);
    await Promise.all(workers.map((worker) => worker.terminate()));
  });

  it('end with a worker that is terminated during a step', async () => {
    for (let round = 0; round < 5; ++round) {
      const worker = start(`
        const sessions = [open(), open()];
        let t = 0;
        const loop = async (s) => { for (;;) await step(s, ++t); };
        sessions.forEach(loop);
        parentPort.postMessage('running');
      `);
      await message(worker);
      await worker.terminate();
    }
  });

  it('end with a worker that is terminated inside a call', async () => {
    for (let round = 0; round < 40; ++round) {
      const worker = start(`
        const [session, row] = [open(), x.subarray(0, 400)];
        (async () => { for (;;) await session.forward(row); })();
        parentPort.postMessage('running');
      `);
      await message(worker);
      await new Promise((resolve) => setTimeout(resolve, round % 5));
      await worker.terminate();
    }
  });

  it('report errors with the class of their own thread', async () => {
    const worker = start(`
      class Mine extends Error { constructor(code, message) { super(message); this.code = code; } }
      const plain = (() => { try { new binding.Session(); } catch (e) { return [e.constructor.name, e.code]; } })();
      binding.setErrorClass(Mine);
      const own = (() => { try { new binding.Session(); } catch (e) { return [e instanceof Mine, e.code]; } })();
      parentPort.postMessage({ plain, own });
    `);
    expect(await message(worker)).to.deep.equal({ plain: ['Error', 'ERR_DTYPE'], own: [true, 'ERR_DTYPE'] });
    await worker.terminate();
  });

  const endings: [string, string, number][] = [
    ['process.exit during a step', 'step(open(), 1); setImmediate(() => process.exit(0));', 0],
    ['process.exit right after the call', 'step(open(), 1); process.exit(7);', 7],
    ['the last promise settles', 'step(open(), 1).then((r) => { if (!(r.loss > 0)) process.exit(1); });', 0],
    [
      'nobody holds the session any more',
      'let p = step(open(), 1); for (let i = 0; i < 50; ++i) { open(); global.gc(); } p.then(() => global.gc());',
      0,
    ],
    ['an uncaught exception during a step', "step(open(), 1); setImmediate(() => { throw new Error('expected'); });", 1],
    [
      'process.exit while a worker runs a step',
      `const { Worker } = require('node:worker_threads');
       const w = new Worker(${JSON.stringify(`${prelude} step(open(), 1).then(() => 0); require('node:worker_threads').parentPort.postMessage(1);`)}, { eval: true });
       w.once('message', () => process.exit(0));`,
      0,
    ],
  ];
  for (const [name, body, status] of endings) {
    it(`leave cleanly when ${name}`, () => {
      const result = spawnSync(process.execPath, ['--expose-gc', '-e', `${prelude} ${body}`], { encoding: 'utf8', timeout: 30000 });
      expect(result.signal, result.stderr).to.equal(null);
      expect(result.status, result.stderr).to.equal(status);
    });
  }
});
