import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { expectCode } from '../support/errors.js';
import { expectSame } from '../support/golden.js';
import { addonPath, binding, root, uniform } from '../native/support.js';

const modulePath = path.join(path.dirname(addonPath), 'pcqat_cuda.so');

describe('the CUDA module', () => {
  const info = existsSync(modulePath) ? binding.loadCuda(modulePath) : undefined;

  it('says why it is off, and its functions then fail clearly', function () {
    const missing = binding.loadCuda(path.join(root, 'no-such-module.so'));
    if (info?.available === true) {
      expect(missing.available, 'the module is loaded once per process').to.equal(true);
      this.skip();
    }
    expect(missing.available).to.equal(false);
    expect(missing.reason).to.match(/could not be loaded: .*no-such-module\.so/);
    const addon = binding.loadCuda(addonPath);
    expect(addon.reason).to.match(/is no CUDA module of pcqat/);
    if (info !== undefined) expect(info.reason).to.match(/^[A-Z].*\.$/);
    expectCode(() => binding.loadCuda(7 as unknown as string), 'ERR_DTYPE', /path must be a string/);
    for (const name of Object.keys(binding.cuda) as (keyof typeof binding.cuda)[]) {
      expectCode(() => (binding.cuda[name] as () => void)(), 'ERR_CUDA_UNAVAILABLE', /loadCuda/);
    }
  });

  describe('gives the bits of the CPU', function () {
    before(function () {
      if (info?.available === true) return;
      console.log(`      (skipped: ${info === undefined ? 'the module was not built (no nvcc)' : info.reason})`);
      this.skip();
    });

    for (const [size, channels] of [
      [1, 0],
      [1000, 0],
      [300000, 0],
      [30, 3],
      [64 * 999, 64],
      [5000 * 40, 40],
    ] as const) {
      const what = `${size} weights, ${channels === 0 ? 'one codebook' : `${channels} channels`}`;

      for (const k of [1, 2, 16, 100, 5000]) {
        if (k * channels > 100000) continue;
        it(`assignment, gather and centroid gradient: ${what}, K ${k}`, () => {
          const w = uniform(size, 1);
          [1e30, -3e38, 0, -0, 1e8].forEach((value, i) => (w[i * 7] = value)); // beyond the end: ignored
          const centroids = uniform(k * Math.max(channels, 1), 2);
          for (let i = 1; i < centroids.length; i += 5) centroids[i] = centroids[i - 1]!;
          const run = (functions: typeof binding.cuda): (Int32Array | Float32Array)[] => {
            const indices = new Int32Array(size);
            functions.assignCentroids(w, centroids, channels, indices);
            const gathered = new Float32Array(size);
            functions.gatherCentroids(indices, centroids, channels, gathered);
            const [sum, average] = [new Float32Array(centroids.length), new Float32Array(centroids.length)];
            functions.centroidGradient(indices, uniform(size, 3), channels, k, 'sum', sum);
            functions.centroidGradient(indices, uniform(size, 3), channels, k, 'average', average);
            return [indices, gathered, sum, average];
          };
          const expected = run(binding);
          run(binding.cuda).forEach((actual, i) => expectSame(actual, expected[i]!, ['indices', 'gathered', 'sum', 'average'][i]!));
        });
      }

      it(`mask and range: ${what}`, () => {
        const mask = Uint8Array.from({ length: size }, (_, i) => (i * 7919) % 3);
        const [onCpu, onGpu] = [uniform(size, 4), uniform(size, 4)];
        binding.applyMask(onCpu, mask);
        binding.cuda.applyMask(onGpu, mask);
        expectSame(new Int32Array(onGpu.buffer), new Int32Array(onCpu.buffer), 'masked bits');
        const ranges = [binding, binding.cuda].map((functions) => {
          const [min, max] = [new Float32Array(Math.max(channels, 1)), new Float32Array(Math.max(channels, 1))];
          functions.symmetricRange(onCpu, channels, min, max);
          return [min, max] as const;
        });
        expectSame(ranges[1]![0], ranges[0]![0], 'min');
        expectSame(ranges[1]![1], ranges[0]![1], 'max');
      });

      it(`fake quantization forward and backward: ${what}`, () => {
        const x = uniform(size, 5, 2);
        [NaN, Infinity, -Infinity, 1, -1].forEach((value, i) => (x[i * 3] = value));
        const max = uniform(Math.max(channels, 1), 6).map(Math.abs);
        if (channels > 2) max[1] = 0;
        if (channels > 2) max[2] = NaN;
        const min = max.map((value) => -0.7 * value);
        for (const narrow of [false, true]) {
          for (const bits of [4, 8]) {
            const run = (functions: typeof binding.cuda): Float32Array[] => {
              const [y, dx] = [new Float32Array(size), new Float32Array(size)];
              functions.fakeQuantize(x, min, max, bits, narrow, y);
              functions.fakeQuantizeGradient(uniform(size, 7), x, min, max, bits, narrow, dx);
              return [y, dx];
            };
            const expected = run(binding);
            run(binding.cuda).forEach((actual, i) => expectSame(actual, expected[i]!, `${['y', 'dx'][i]}, ${bits} bits, narrow ${narrow}`));
          }
        }
      });
    }
  });
});
