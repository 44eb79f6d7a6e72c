import { expect } from 'chai';
import { materializeWeight, weightRange } from '#lib/compress/materialize.js';
import { stripClustering } from '#lib/compress/clustering/strip.js';
import { stripPruning } from '#lib/compress/sparsity/strip.js';
import { updateMask, maskDecision } from '#lib/compress/sparsity/mask.js';
import type { Model } from '#lib/graph/model.js';
import { load, quantizedChains, tensorsOf, traces, wrap, type Trace } from '../support/traces.js';

/** The wrapped model with the recorded state after `steps` training steps. */
function modelAt(trace: Trace, steps: number): Model {
  const model = wrap(trace);
  load(model, steps === 0 ? trace.start : trace.steps[steps - 1].after);
  load(model, trace.constants);
  return model;
}

function expectTensors(model: Model, expected: ReturnType<typeof tensorsOf>, skip?: RegExp): void {
  for (const [name, tensor] of expected) {
    if (skip?.test(name) === true) continue;
    const own = model.tensors.get(name);
    expect(own, name).to.not.equal(undefined);
    // By value: the reference leaves −0 where we have 0 (W27).
    expect(own?.data.length, name).to.equal(tensor.data.length);
    tensor.data.forEach(
      (value, i) => own?.data[i] === value || expect.fail(`${name}[${i}] is ${own?.data[i]}, the reference has ${value}`),
    );
  }
}

describe('golden traces: facade', () => {
  for (const [name, trace] of traces) {
    describe(name, () => {
      it('builds the state that the reference builds', () => {
        const model = wrap(trace);
        // Weight ranges start at ±6 in the reference; every forward overwrites them. Its step counter was recorded as training began.
        expectTensors(model, tensorsOf(model, trace.start), /kernel:(min|max|pruning_step)$/);
        expectTensors(model, tensorsOf(model, trace.constants));
      });

      it('has every variable of the reference and no other', () => {
        const model = wrap(trace);
        const known = new Set([
          ...[...model.tensors.keys()].filter((tensor) => tensor.endsWith(':clustered_as')),
          ...tensorsOf(model, trace.start).keys(),
          ...tensorsOf(model, trace.constants).keys(),
        ]);
        expect([...model.tensors.keys()].filter((tensor) => !known.has(tensor))).to.deep.equal([]);
        expect([...known].filter((tensor) => !model.tensors.has(tensor))).to.deep.equal([]);
      });

      if (trace.stage.startsWith('prune')) {
        it('updates masks and thresholds exactly (P-trace), and strips to the recorded kernels (W26)', () => {
          trace.steps.forEach((step, t) => {
            const model = modelAt(trace, t);
            const after = tensorsOf(model, step.after);
            for (const [parameter, chain] of model.chains) {
              const policy = chain.mask?.pruning;
              if (policy === undefined) expect.fail(`${parameter} has no pruning policy`);
              const stepNumber = t + 1;
              expect(after.get(`${parameter}:pruning_step`)?.data[0]).to.equal(stepNumber);
              const decision = maskDecision(policy, stepNumber);
              const weight = model.tensors.get(parameter);
              const mask = model.tensors.get(`${parameter}:mask`)?.data;
              const updated = decision.shouldPrune && weight !== undefined ? updateMask(weight, policy, decision.sparsity) : undefined;
              expect(updated?.mask ?? mask, `${parameter} step ${stepNumber}`).to.deep.equal(after.get(`${parameter}:mask`)?.data);
              if (updated !== undefined) expect(updated.threshold).to.equal(after.get(`${parameter}:threshold`)?.data[0]);
            }
          });
          const stripped = stripPruning(modelAt(trace, trace.steps.length));
          expectTensors(stripped, tensorsOf(stripped, trace.stripped));
          expect(stripped.chains.size).to.equal(0);
        });
      }

      if (trace.stage.startsWith('cluster')) {
        it('strips to the recorded kernels, one more assignment included', () => {
          const stripped = stripClustering(modelAt(trace, trace.steps.length));
          expectTensors(stripped, tensorsOf(stripped, trace.stripped));
        });
      }

      if (/^p?cqat/.test(trace.stage)) {
        it('uses exactly the kernels C[I] and ranges of the next recorded forward pass', () => {
          trace.steps.forEach((step, t) => {
            const model = modelAt(trace, t);
            const after = tensorsOf(model, step.after);
            for (const [parameter, chain] of quantizedChains(model)) {
              const range = weightRange(model, parameter);
              expect(range.min, `${parameter} min`).to.deep.equal(after.get(`${parameter}:min`)?.data);
              expect(range.max, `${parameter} max`).to.deep.equal(after.get(`${parameter}:max`)?.data);
              if (chain.codebook === undefined) continue;
              const layer = parameter.split('/')[0];
              const kernel = tensorsOf(model, { [`${layer}/kernel`]: step.after[`quant_${layer}/kernel`] }).get(parameter);
              const used = materializeWeight(model, parameter);
              kernel?.data.forEach(
                (value, i) => used[i] === value || expect.fail(`${parameter}[${i}] is ${used[i]}, the reference has ${value}`),
              );
            }
          });
        });
      }
    });
  }
});
