import type { Tensor } from '../../graph/model.js';

type BlockSize = readonly [rows: number, columns: number];
type Matrix = Pick<Tensor, 'shape' | 'data'>;

/** Which block each element of a `[rows, columns]` matrix lies in, row-major; blocks start at row and column 0, the last may be short. */
function* blockIndices([rows = 0, columns = 0]: readonly number[], [height, width]: BlockSize): Generator<number> {
  const across = Math.ceil(columns / width);
  for (let row = 0; row < rows; row++) {
    const first = Math.floor(row / height) * across;
    for (let column = 0; column < columns; column++) yield first + Math.floor(column / width);
  }
}

/** Mean or maximum of |w| over the elements of each block. */
export function poolBlocks({ shape, data }: Matrix, blockSize: BlockSize, pooling: 'AVG' | 'MAX'): Float32Array {
  const [rows = 0, columns = 0] = shape;
  const blocks = Math.ceil(rows / blockSize[0]) * Math.ceil(columns / blockSize[1]);
  const pooled = new Float64Array(blocks);
  const sizes = new Uint32Array(blocks);
  let i = 0;
  for (const block of blockIndices(shape, blockSize)) {
    const magnitude = Math.abs(data[i++] ?? 0);
    const before = pooled[block] ?? 0;
    pooled[block] = pooling === 'AVG' ? before + magnitude : Math.max(before, magnitude);
    sizes[block] = (sizes[block] ?? 0) + 1;
  }
  return Float32Array.from(pooled, (value, block) => (pooling === 'AVG' ? value / (sizes[block] ?? 1) : value));
}

/** Each element takes the bit of its block. */
export function expandBlocks(mask: Uint8Array, shape: readonly number[], blockSize: BlockSize): Uint8Array {
  return Uint8Array.from(blockIndices(shape, blockSize), (block) => mask[block] ?? 0);
}
