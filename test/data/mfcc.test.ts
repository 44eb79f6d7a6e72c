import { RealFft } from '#lib/data/fft.js';
import { fsddMfcc } from '#lib/data/fsdd.js';
import { armMfcc, mfcc, mlperfMfcc, type MfccOptions } from '#lib/data/mfcc.js';
import { expect } from 'chai';
import fc from 'fast-check';
import { before, describe, it } from 'mocha';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expectCode } from '../support/errors.js';

/** |DFT| by its definition. */
function slowMagnitudes(signal: ArrayLike<number>, n: number): number[] {
  return Array.from({ length: n / 2 + 1 }, (_, bin) => {
    let re = 0;
    let im = 0;
    for (let t = 0; t < signal.length; t++) {
      const angle = (2 * Math.PI * ((bin * t) % n)) / n;
      re += (signal[t] as number) * Math.cos(angle);
      im -= (signal[t] as number) * Math.sin(angle);
    }
    return Math.hypot(re, im);
  });
}

/** One frame of coefficients, written from the definitions: band by band, edges in mel. */
function slowFrame(samples: ArrayLike<number>, o: MfccOptions): number[] {
  const windowed = Array.from({ length: o.frameLength }, (_, t) => (samples[t] as number) * Math.sin((Math.PI * t) / o.frameLength) ** 2);
  const spectrum = slowMagnitudes(windowed, o.fftLength);
  const mel = (hz: number) => 1127 * Math.log1p(hz / 700);
  const edges = Array.from({ length: o.bands + 2 }, (_, i) => mel(o.lowHz) + ((mel(o.highHz) - mel(o.lowHz)) * i) / (o.bands + 1));
  const logs = Array.from({ length: o.bands }, (_, band) => {
    const [left, centre, right] = edges.slice(band) as [number, number, number];
    let energy = 0;
    spectrum.forEach((magnitude, bin) => {
      const at = mel((bin * o.sampleRate) / o.fftLength);
      const weight = Math.max(0, Math.min((at - left) / (centre - left), (right - at) / (right - centre)));
      if (bin >= o.firstBin) energy += magnitude * weight;
    });
    return Math.log(o.floor.kind === 'add' ? energy + o.floor.value : Math.max(energy, o.floor.value));
  });
  return Array.from({ length: o.coefficients }, (_, k) =>
    logs.reduce((sum, value, band) => sum + Math.sqrt(2 / o.bands) * value * Math.cos((Math.PI * k * (2 * band + 1)) / (2 * o.bands)), 0),
  );
}

describe('Fourier transform', () => {
  it('equals the definition for every power of two', () => {
    const signal = fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 4, maxLength: 64 });
    fc.assert(
      fc.property(signal, fc.integer({ min: 2, max: 9 }), (values, log) => {
        const n = 2 ** log;
        const fft = new RealFft(n);
        const out = new Float64Array(fft.bins);
        const used = values.slice(0, n);
        fft.magnitudes(Float64Array.from(used), out);
        slowMagnitudes(used, n).forEach((expected, bin) => expect(out[bin]).to.be.closeTo(expected, 1e-12 * n));
      }),
      { numRuns: 200 },
    );
  });
});

describe('MFCC', () => {
  const chirp = (length: number) => Float32Array.from({ length }, (_, t) => 0.7 * Math.sin(t * t * 2e-5) + 0.1 * Math.sin(t * 0.9));

  it('equals the definition, frame by frame', () => {
    for (const options of [mlperfMfcc, armMfcc, fsddMfcc]) {
      const samples = chirp(options.frameLength + 3 * options.frameStep + 5);
      const features = mfcc(options)(samples);
      expect(features.length).to.equal(4 * options.coefficients);
      for (let frame = 0; frame < 4; frame++) {
        slowFrame(samples.subarray(frame * options.frameStep), options).forEach((expected, k) => {
          expect(features[frame * options.coefficients + k]).to.be.closeTo(expected, 2e-6 * Math.max(1, Math.abs(expected)));
        });
      }
    }
  });

  it('gives 49 frames for a second', () => {
    for (const options of [mlperfMfcc, armMfcc, fsddMfcc])
      expect(mfcc(options)(new Float32Array(options.sampleRate).fill(0.1)).length).to.equal(490);
  });

  it('gives silence the floor', () => {
    const [first, ...rest] = mfcc(armMfcc)(new Float32Array(640));
    expect(first).to.be.closeTo(Math.sqrt(2 / 40) * 40 * Math.log(1e-12), 1e-4);
    for (const value of rest) expect(value).to.be.closeTo(0, 1e-4);
  });

  it('rejects bad sound and options', () => {
    expectCode(() => mfcc(armMfcc)(new Float32Array(639)), 'ERR_SHAPE');
    expectCode(() => mfcc(armMfcc)(new Float32Array(640).fill(NaN)), 'ERR_NON_FINITE', /sample 0/);
    const bad: Partial<MfccOptions>[] = [
      { frameStep: 0 },
      { frameLength: 0.5 },
      { fftLength: 512 },
      { fftLength: 1000 },
      { fftLength: 2 ** 21 },
      { highHz: 8001 },
      { lowHz: 4000 },
      { firstBin: -1 },
      { coefficients: 41 },
      { floor: { kind: 'add', value: 0 } },
      { floor: { kind: 'max', value: NaN } },
    ];
    for (const change of bad) expectCode(() => mfcc({ ...armMfcc, ...change }), 'ERR_OPTION');
  });

  describe('against recorded features of Speech Commands', () => {
    const folder = path.resolve('../shared/data/speech-commands-12');
    const bytes = (name: string) => readFileSync(path.join(folder, name));
    const clips = 60;
    const rowSize = 490;

    before(function () {
      if (existsSync(folder)) return;
      console.log(`      skipped: ${folder} is not there`);
      this.skip();
    });

    const audio = () => {
      const raw = gunzipSync(bytes('audio-16k-pcm16le.bin.gz'));
      const samples = new Int16Array(raw.buffer, raw.byteOffset, raw.length / 2);
      return Array.from({ length: clips }, (_, clip) => samples.subarray(clip * 16000, (clip + 1) * 16000));
    };

    it('reproduces at least 99.7 % of the bytes of MLPerf Tiny, the others within 1', () => {
      const expected = new Int8Array(bytes('mfcc-mlperf-49x10-int8.bin'));
      const features = mfcc(mlperfMfcc);
      let different = 0;
      audio().forEach((clip, i) => {
        const peak = clip.reduce((largest, sample) => Math.max(largest, sample));
        features(Float32Array.from(clip, (sample) => sample / peak)).forEach((value, k) => {
          const difference = Math.abs(Math.trunc(value / 0.5847029089927673 + 83) - (expected[i * rowSize + k] as number));
          expect(difference).to.be.at.most(1);
          different += difference;
        });
      });
      expect(different).to.be.at.most(0.003 * clips * rowSize);
    });

    it("reproduces the features of Arm's networks to the last bit or two", () => {
      const raw = gunzipSync(bytes('mfcc-armkws-49x10-f32le.bin.gz'));
      const expected = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
      const features = mfcc(armMfcc);
      audio().forEach((clip, i) => {
        features(Float32Array.from(clip, (sample) => sample / 32768)).forEach((value, k) => {
          const wanted = expected[i * rowSize + k] as number;
          expect(Math.abs(value - wanted)).to.be.at.most(2 ** -22 * Math.max(1, Math.abs(wanted)));
        });
      });
    });
  });
});
