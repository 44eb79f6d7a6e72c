import { PcqatError } from '../../errors.js';
import type { Pair } from '../../graph/types.js';

/** An object as JSON has it; read with {@link field}, so that a key such as `constructor` finds nothing that the file does not hold. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function field(object: unknown, key: string): unknown {
  return isObject(object) && Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Elements of an array, none of anything else. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

/** @throws PcqatError `ERR_FORMAT` when the text is no JSON object */
export function parseJson(text: string, where: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new PcqatError('ERR_FORMAT', `it is no JSON: ${(cause as Error).message.slice(0, 200)}`, { where, cause });
  }
  if (isObject(value)) return value;
  throw new PcqatError('ERR_FORMAT', 'it is no JSON object', { where });
}

/** A number; tf.keras wraps numpy scalars. */
function numeric(value: unknown): unknown {
  return field(value, 'class_name') === '__numpy__' ? field(field(value, 'config'), 'value') : value;
}

/** The `config` of a layer, whose fields are checked as they are read. `null` counts as absent. */
export class LayerConfig {
  readonly #fields: JsonObject;
  readonly #where: string;

  constructor(fields: JsonObject, where: string) {
    this.#fields = fields;
    this.#where = where;
  }

  get(key: string): unknown {
    return field(this.#fields, key) ?? undefined;
  }

  text(key: string, fallback: string): string {
    const value = this.get(key) ?? fallback;
    return typeof value === 'string' ? value : this.#fail(key, 'a text');
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    return typeof value === 'boolean' ? value : this.#fail(key, 'true or false');
  }

  number(key: string, fallback: number): number {
    const value = numeric(this.get(key)) ?? fallback;
    return typeof value === 'number' ? value : this.#fail(key, 'a number');
  }

  /** A number that must be there; what sizes may be is checked with the node. */
  size(key: string): number {
    const value = this.get(key);
    return typeof value === 'number' ? value : this.#fail(key, 'a number');
  }

  /** `n`, `[n]` or `[h, w]`. */
  pair(key: string, fallback?: Pair): Pair {
    const value = this.get(key) ?? fallback;
    const [height, width = height] = Array.isArray(value) ? (value as unknown[]) : [value];
    return typeof height === 'number' && typeof width === 'number' ? [height, width] : this.#fail(key, 'a number or two');
  }

  /** `n` or `[n]`. */
  single(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    const [only] = Array.isArray(value) ? (value as unknown[]) : [value];
    return typeof only === 'number' ? only : this.#fail(key, 'a number');
  }

  #fail(key: string, expected: string): never {
    const found = this.get(key) === undefined ? 'is missing' : `is not ${expected}`;
    throw new PcqatError('ERR_FORMAT', `${key} ${found}`, { where: this.#where });
  }
}
