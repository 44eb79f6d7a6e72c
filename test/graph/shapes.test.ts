import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { inferNodeShape, inferShapes } from '#lib/graph/shapes.js';
import { transposedGeometry, windowGeometry } from '#lib/graph/windows.js';
import type { GraphNode } from '#lib/graph/types.js';
import { zoo } from '#lib/index.js';
import { expectCode } from '../support/errors.js';

describe('window geometry', () => {
  // [input, window, stride, dilation] → [output, before, after] of tf.nn.conv2d on one axis.
  const same: [number, number, number, number, number, number, number][] = [
    [49, 10, 2, 1, 25, 4, 5],
    [10, 4, 2, 1, 5, 1, 1],
    [10, 4, 1, 1, 10, 1, 2],
    [28, 5, 1, 1, 28, 2, 2],
    [96, 3, 2, 1, 48, 0, 1],
    [25, 3, 2, 1, 13, 1, 1],
    [7, 3, 1, 2, 7, 2, 2],
    [8, 1, 2, 1, 4, 0, 0],
    [1, 3, 1, 1, 1, 1, 1],
    [5, 2, 3, 1, 2, 0, 0],
  ];
  for (const [size, window, stride, dilation, out, before, after] of same) {
    it(`SAME: ${size} by window ${window}, stride ${stride}, dilation ${dilation} gives ${out}, pads ${before} and ${after}`, () => {
      const { output, padding } = windowGeometry([size, 1], [window, 1], [stride, 1], [dilation, 1], 'same');
      expect([output[0], padding[0], padding[1]]).to.deep.equal([out, before, after]);
    });
  }

  it('SAME: every start of a window lies in the input, and padding is the least that fits, its odd element last', () => {
    const size = fc.integer({ min: 1, max: 40 });
    const small = fc.integer({ min: 1, max: 7 });
    fc.assert(
      fc.property(size, small, small, small, (length, window, stride, dilation) => {
        const { output, padding } = windowGeometry([length, 1], [window, 1], [stride, 1], [dilation, 1], 'same');
        const starts = Array.from({ length }, (_, i) => i).filter((i) => i % stride === 0);
        expect(output[0]).to.equal(starts.length);
        const [before, after] = padding;
        const needed = starts.at(-1)! + (window - 1) * dilation + 1;
        expect(before + after).to.equal(Math.max(needed - length, 0));
        expect(after - before).to.be.within(0, 1);
      }),
    );
  });

  it('VALID: counts the windows that fit and never pads', () => {
    const { output, padding } = windowGeometry([28, 10], [3, 4], [1, 3], [2, 1], 'valid');
    expect(output).to.deep.equal([24, 3]);
    expect(padding).to.deep.equal([0, 0, 0, 0]);
  });

  it('computes height and width independently', () => {
    const { output, padding } = windowGeometry([49, 10], [10, 4], [2, 1], [1, 1], 'same');
    expect(output).to.deep.equal([25, 10]);
    expect(padding).to.deep.equal([4, 5, 1, 2]);
  });
});

describe('inferShapes', () => {
  it('follows DS-CNN-L to its logits', () => {
    const shapes = inferShapes(zoo.dsCnn({ size: 'L', classes: 12 }).graph);
    expect(shapes.get('conv1')).to.deep.equal([25, 10, 276]);
    expect(shapes.get('block1_dw')).to.deep.equal([13, 5, 276]);
    expect(shapes.get('block5_pw')).to.deep.equal([13, 5, 276]);
    expect(shapes.get('logits')).to.deep.equal([12]);
  });

  it('infers every kind of layer', () => {
    const base = { name: 'x', inputs: [] };
    const cases: [GraphNode, number[][], number[]][] = [
      [
        {
          ...base,
          op: 'depthwiseConv2d',
          kernelSize: [3, 3],
          strides: [2, 2],
          padding: 'valid',
          dilation: [1, 1],
          depthMultiplier: 3,
          useBias: true,
        },
        [[7, 9, 2]],
        [3, 4, 6],
      ],
      [{ ...base, op: 'maxPool2d', poolSize: [2, 2], strides: [2, 2], padding: 'same' }, [[5, 5, 4]], [3, 3, 4]],
      [{ ...base, op: 'averagePool2d', poolSize: [2, 3], strides: [1, 3], padding: 'valid' }, [[5, 6, 4]], [4, 2, 4]],
      [
        {
          ...base,
          op: 'zeroPad2d',
          padding: [
            [1, 2],
            [3, 4],
          ],
        },
        [[5, 5, 4]],
        [8, 12, 4],
      ],
      [{ ...base, op: 'flatten' }, [[5, 5, 4]], [100]],
      [{ ...base, op: 'reshape', shape: [10, 10] }, [[5, 5, 4]], [10, 10]],
      [
        { ...base, op: 'add' },
        [
          [2, 3],
          [2, 3],
        ],
        [2, 3],
      ],
      [{ ...base, op: 'softmax' }, [[7]], [7]],
    ];
    for (const [node, inputs, output] of cases) expect(inferNodeShape(node, inputs), node.op).to.deep.equal(output);
  });

  it('infers one-dimensional layers: same, valid and causal', () => {
    const base = { name: 'x', inputs: [] };
    const conv = { ...base, op: 'conv1d', filters: 6, kernelSize: 4, dilation: 2, useBias: true } as const;
    const depthwise = {
      ...base,
      op: 'depthwiseConv1d',
      kernelSize: 3,
      strides: 2,
      dilation: 1,
      depthMultiplier: 2,
      useBias: true,
    } as const;
    const cases: [GraphNode, number[][], number[]][] = [
      [{ ...conv, strides: 1, padding: 'same' }, [[11, 3]], [11, 6]],
      [{ ...conv, strides: 1, padding: 'valid' }, [[11, 3]], [5, 6]],
      [{ ...conv, strides: 2, padding: 'causal' }, [[11, 3]], [6, 6]],
      [{ ...conv, strides: 3, padding: 'causal' }, [[2, 3]], [1, 6]],
      [{ ...depthwise, padding: 'same' }, [[7, 3]], [4, 6]],
      [{ ...depthwise, padding: 'valid' }, [[7, 3]], [3, 6]],
      [{ ...depthwise, padding: 'causal' }, [[7, 3]], [4, 6]],
      [{ ...base, op: 'maxPool1d', poolSize: 2, strides: 2, padding: 'same' }, [[5, 4]], [3, 4]],
      [{ ...base, op: 'averagePool1d', poolSize: 3, strides: 1, padding: 'valid' }, [[5, 4]], [3, 4]],
      [{ ...base, op: 'globalAveragePool1d' }, [[5, 4]], [4]],
    ];
    for (const [node, inputs, output] of cases) expect(inferNodeShape(node, inputs), JSON.stringify(node)).to.deep.equal(output);
  });

  it('pads a causal window at its start only', () => {
    expect(windowGeometry([1, 11], [1, 4], [1, 1], [1, 2], 'causal')).to.deep.equal({ output: [1, 11], padding: [0, 0, 6, 0] });
  });

  // [size, kernel, stride, padding] → Keras' deconv_output_length, and the padding before and after of the convolution back.
  const transposed: [number, number, number, 'same' | 'valid', number, number, number][] = [
    [4, 3, 2, 'same', 8, 0, 1],
    [4, 3, 2, 'valid', 9, 0, 0],
    [4, 5, 1, 'same', 4, 2, 2],
    [4, 5, 1, 'valid', 8, 0, 0],
    [4, 2, 3, 'same', 12, 0, 0],
    [4, 2, 3, 'valid', 12, 0, 0],
  ];
  for (const [size, kernel, stride, padding, out, before, after] of transposed) {
    it(`transposed convolution: ${size} with kernel ${kernel}, stride ${stride}, ${padding} gives ${out}`, () => {
      const node = {
        op: 'conv2dTranspose', name: 'x', inputs: [], filters: 5, kernelSize: [kernel, 1], strides: [stride, 1], padding, useBias: true,
      } as const; // prettier-ignore
      expect(inferNodeShape(node, [[size, 7, 2]])).to.deep.equal([out, 7, 5]);
      const geometry = transposedGeometry([size, 7], node);
      expect(geometry.padding.slice(0, 2)).to.deep.equal([before, after]);
      // The convolution whose gradient it is leads back to the input's size.
      expect(windowGeometry(geometry.output, [kernel, 1], [stride, 1], [1, 1], padding).output).to.deep.equal([size, 7]);
    });
  }

  it('infers upsampling, concat, multiply and activations', () => {
    const base = { name: 'x', inputs: [] };
    const cases: [GraphNode, number[][], number[]][] = [
      [{ ...base, op: 'upSampling2d', size: [2, 3], interpolation: 'bilinear' }, [[4, 5, 2]], [8, 15, 2]],
      [{ ...base, op: 'concat' }, [[4, 5, 2], [4, 5, 1], [4, 5, 3]], [4, 5, 6]],
      [{ ...base, op: 'concat' }, [[4], [3]], [7]],
      [{ ...base, op: 'multiply' }, [[4, 5, 2], [4, 5, 2]], [4, 5, 2]],
      [{ ...base, op: 'multiply' }, [[4, 5, 2], [2]], [4, 5, 2]],
      [{ ...base, op: 'multiply' }, [[4, 5, 2], [1, 1, 2]], [4, 5, 2]],
      [{ ...base, op: 'multiply' }, [[5, 2], [1, 2]], [5, 2]],
      [{ ...base, op: 'leakyRelu', alpha: 0.3 }, [[4, 5, 2]], [4, 5, 2]],
      [{ ...base, op: 'hardSwish' }, [[4, 5]], [4, 5]],
    ]; // prettier-ignore
    for (const [node, inputs, output] of cases) expect(inferNodeShape(node, inputs), JSON.stringify(node)).to.deep.equal(output);
  });

  it('names new layers whose inputs do not fit', () => {
    const at = { name: 'odd', inputs: [] };
    const window = { strides: 1, padding: 'valid', dilation: 1, useBias: true } as const;
    const wrong: [GraphNode, number[][], RegExp][] = [
      [{ ...at, op: 'conv1d', filters: 2, kernelSize: 3, ...window }, [[8, 8, 1]], /needs an input \[length, channels\].*layer 'odd'/s],
      [{ ...at, op: 'conv1d', filters: 2, kernelSize: 9, ...window }, [[8, 1]], /window 9 is larger.*layer 'odd'/s],
      [{ ...at, op: 'depthwiseConv1d', depthMultiplier: 1, kernelSize: 3, ...window }, [[8]], /layer 'odd'/],
      [{ ...at, op: 'maxPool1d', poolSize: 2, strides: 2, padding: 'same' }, [[4, 4, 1]], /layer 'odd'/],
      [{ ...at, op: 'globalAveragePool1d' }, [[4, 4, 1]], /layer 'odd'/],
      [{ ...at, op: 'upSampling2d', size: [2, 2], interpolation: 'nearest' }, [[4, 4]], /layer 'odd'/],
      [{ ...at, op: 'upSampling2d', size: [2 ** 20, 2 ** 20], interpolation: 'nearest' }, [[4, 4, 1]], /more than.*layer 'odd'/s],
      [{ ...at, op: 'concat' }, [[4, 4, 1], [4, 3, 1]], /\[4, 4, 1\] and \[4, 3, 1\].*layer 'odd'/s],
      [{ ...at, op: 'concat' }, [[4, 4], [4]], /layer 'odd'/],
      [{ ...at, op: 'multiply' }, [[4, 4, 2], [4, 4, 1]], /multiply \[4, 4, 2\] by \[4, 4, 1\].*layer 'odd'/s],
      [{ ...at, op: 'multiply' }, [[2], [4, 4, 2]], /layer 'odd'/],
      [{ ...at, op: 'multiply' }, [[4, 4, 2], [1, 2]], /layer 'odd'/],
    ]; // prettier-ignore
    for (const [node, inputs, message] of wrong) expectCode(() => inferNodeShape(node, inputs), 'ERR_SHAPE', message);
  });

  it('names the layer whose input does not fit', () => {
    const input: GraphNode = { op: 'input', name: 'in', inputs: [], shape: [2, 2, 1] };
    const infer = (node: GraphNode) => () => inferShapes({ name: 'g', nodes: [input, node] });
    const window = { kernelSize: [3, 3], strides: [1, 1], padding: 'valid', dilation: [1, 1], useBias: true } as const;
    expectCode(infer({ op: 'conv2d', name: 'c', inputs: ['in'], filters: 1, ...window }), 'ERR_SHAPE', /layer 'c'/);
    expectCode(infer({ op: 'dense', name: 'd', inputs: ['in'], units: 1, useBias: true }), 'ERR_SHAPE', /layer 'd'/);
    expectCode(infer({ op: 'reshape', name: 'r', inputs: ['in'], shape: [5] }), 'ERR_SHAPE', /layer 'r'/);
    expectCode(infer({ op: 'flatten', name: 'f', inputs: ['nowhere'] }), 'ERR_GRAPH', /nowhere/);
    expectCode(
      infer({
        op: 'zeroPad2d',
        name: 'z',
        inputs: ['in'],
        padding: [
          [2 ** 30, 0],
          [2 ** 30, 0],
        ],
      }),
      'ERR_SHAPE',
      /layer 'z'/,
    );
  });
});
