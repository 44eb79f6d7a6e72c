import { createHash } from 'node:crypto';
import type { Column } from './columns.js';
import type { ColumnName } from './recipe.js';
import type { Stage } from './stage-schema.js';

/** One training run of the whole recipe. Columns that begin with the same stages share the pieces. */
export interface Piece {
  /** Name of its checkpoint; the same for the same stages of the same recipe. */
  readonly id: string;
  /** The piece it goes on from; none = the freshly made model. */
  readonly parent?: string;
  readonly stage: Stage;
  /** How many pieces come before it in its column. */
  readonly depth: number;
  readonly steps: number;
  /** Columns that contain it. */
  readonly columns: readonly ColumnName[];
}

/** A column and the ids of its pieces, in order. */
export interface PlannedColumn extends Column {
  readonly pieces: readonly string[];
  readonly steps: number;
}

/** All training of a recipe. */
export interface Plan {
  readonly columns: readonly PlannedColumn[];
  /** By id, in the order in which they are trained. */
  readonly pieces: ReadonlyMap<string, Piece>;
}

/** Lays the columns' stages over each other so that a shared beginning is trained once. */
export function planPieces(columns: readonly Column[], stepsPerEpoch: number): Plan {
  const pieces = new Map<string, Piece>();
  const planned = columns.map((column): PlannedColumn => {
    const ids: string[] = [];
    column.stages.forEach((stage, depth) => {
      const prefix = JSON.stringify(column.stages.slice(0, depth + 1));
      const id = `${depth + 1}-${stage.stage}-${createHash('sha256').update(prefix).digest('hex').slice(0, 8)}`;
      const known = pieces.get(id);
      const parent = ids.at(-1);
      pieces.set(id, {
        id,
        ...(parent === undefined ? {} : { parent }),
        stage,
        depth,
        steps: stage.epochs * stepsPerEpoch,
        columns: [...(known?.columns ?? []), column.name],
      });
      ids.push(id);
    });
    return { ...column, pieces: ids, steps: column.epochs * stepsPerEpoch };
  });
  return { columns: planned, pieces };
}
