import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { inferNodeShape, inferShapes, windowGeometry } from '#lib/graph/shapes.js';
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
