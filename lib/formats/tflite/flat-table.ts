import { PcqatError } from '../../errors.js';

/** Longest string read from a file, in bytes. Tensor names of fused layers can be long, but not this long. */
const MAX_STRING = 1 << 16;
/** Bytes that may be decoded per byte of the file. Shared vectors are legal; a file that is little else is hostile. */
const BUDGET_PER_BYTE = 16;
/** Allowance for files of a few hundred bytes. */
const BASE_BUDGET = 4096;
/** What one table costs: about the memory that its decoded form takes. */
const TABLE_COST = 256;

/**
 * A FlatBuffers file whose every offset, vtable and length is checked before it is followed (the `flatbuffers` package
 * trusts them). What is decoded in total is bounded by the size of the file, so that vectors which overlap cannot make
 * a small file expand.
 */
export class FlatFile {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  private budget: number;

  constructor(
    bytes: Uint8Array,
    /** Shown in errors, e.g. the path. */
    readonly where: string,
  ) {
    this.bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength); // no Buffer: its subarrays would be Buffers too
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.budget = bytes.byteLength * BUDGET_PER_BYTE + BASE_BUDGET;
  }

  root(): FlatTable {
    return new FlatTable(this, this.follow(0, 'root'), 'root');
  }

  fail(place: string, problem: string): never {
    throw new PcqatError('ERR_FORMAT', `Not a valid .tflite file: ${place}: ${problem}`, {
      where: this.where,
      remedy: 'Check that the file is complete and was written by a TensorFlow Lite converter.',
    });
  }

  /** Checks that `length` bytes at `position` are inside the file. */
  check(position: number, length: number, place: string): void {
    if (position < 0 || length < 0 || position + length > this.bytes.byteLength) {
      this.fail(place, `bytes ${position} to ${position + length} lie outside the file of ${this.bytes.byteLength} bytes`);
    }
  }

  charge(bytes: number, place: string): void {
    this.budget -= bytes;
    if (this.budget < 0) this.fail(place, 'the file refers to the same bytes too many times');
  }

  /** Target of the forward offset stored at `position`. */
  follow(position: number, place: string): number {
    this.check(position, 4, place);
    const target = position + this.view.getUint32(position, true);
    this.check(target, 4, place);
    return target;
  }
}

/** One table; a field is named by its slot. Absent fields give the fallback. */
export class FlatTable {
  private readonly vtable: number;
  private readonly vtableSize: number;
  private readonly size: number;

  constructor(
    private readonly file: FlatFile,
    private readonly position: number,
    readonly place: string,
  ) {
    file.check(position, 4, place);
    file.charge(TABLE_COST, place);
    this.vtable = position - file.view.getInt32(position, true);
    file.check(this.vtable, 4, `${place} (vtable)`);
    this.vtableSize = file.view.getUint16(this.vtable, true);
    this.size = file.view.getUint16(this.vtable + 2, true);
    if (this.vtableSize < 4 || this.vtableSize % 2 !== 0 || this.size < 4) file.fail(place, 'its vtable is malformed');
    file.check(this.vtable, this.vtableSize, `${place} (vtable)`);
    file.check(position, this.size, place);
  }

  fail(problem: string): never {
    this.file.fail(this.place, problem);
  }

  has(slot: number): boolean {
    return this.field(slot, 0, '') !== 0;
  }

  int8(slot: number, name: string, fallback = 0): number {
    const at = this.field(slot, 1, name);
    return at === 0 ? fallback : this.file.view.getInt8(at);
  }

  uint8(slot: number, name: string, fallback = 0): number {
    const at = this.field(slot, 1, name);
    return at === 0 ? fallback : this.file.view.getUint8(at);
  }

  int32(slot: number, name: string, fallback = 0): number {
    const at = this.field(slot, 4, name);
    return at === 0 ? fallback : this.file.view.getInt32(at, true);
  }

  uint32(slot: number, name: string, fallback = 0): number {
    const at = this.field(slot, 4, name);
    return at === 0 ? fallback : this.file.view.getUint32(at, true);
  }

  /** A 64-bit field that must be a safe integer (offsets and sizes). */
  uint64(slot: number, name: string): number {
    const at = this.field(slot, 8, name);
    if (at === 0) return 0;
    const value = this.file.view.getBigUint64(at, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.file.fail(`${this.place}.${name}`, `${value} is too large`);
    return Number(value);
  }

  float32(slot: number, name: string, fallback = 0): number {
    const at = this.field(slot, 4, name);
    return at === 0 ? fallback : this.file.view.getFloat32(at, true);
  }

  string(slot: number, name: string): string {
    const bytes = this.bytes(slot, name);
    if (bytes.byteLength > MAX_STRING) this.file.fail(`${this.place}.${name}`, `a string of ${bytes.byteLength} bytes is too long`);
    return new TextDecoder().decode(bytes);
  }

  /** A view of a byte vector; empty when absent. */
  bytes(slot: number, name: string): Uint8Array {
    const { start, length } = this.vector(slot, 1, name);
    return this.file.bytes.subarray(start, start + length);
  }

  int32s(slot: number, name: string): number[] {
    const { start, length } = this.vector(slot, 4, name);
    return Array.from({ length }, (_, i) => this.file.view.getInt32(start + 4 * i, true));
  }

  float32s(slot: number, name: string): Float32Array {
    const { start, length } = this.vector(slot, 4, name);
    return Float32Array.from({ length }, (_, i) => this.file.view.getFloat32(start + 4 * i, true));
  }

  int64s(slot: number, name: string): bigint[] {
    const { start, length } = this.vector(slot, 8, name);
    return Array.from({ length }, (_, i) => this.file.view.getBigInt64(start + 8 * i, true));
  }

  /** A sub-table, or `undefined` when absent. */
  table(slot: number, name: string): FlatTable | undefined {
    const at = this.field(slot, 4, name);
    const place = `${this.place}.${name}`;
    return at === 0 ? undefined : new FlatTable(this.file, this.file.follow(at, place), place);
  }

  tables(slot: number, name: string): FlatTable[] {
    const { start, length } = this.vector(slot, 4, name);
    return Array.from({ length }, (_, i) => {
      const place = `${name}[${i}]`;
      return new FlatTable(this.file, this.file.follow(start + 4 * i, place), place);
    });
  }

  private vector(slot: number, elementSize: number, name: string): { start: number; length: number } {
    const at = this.field(slot, 4, name);
    if (at === 0) return { start: 0, length: 0 };
    const place = `${this.place}.${name}`;
    const start = this.file.follow(at, place);
    const length = this.file.view.getUint32(start, true);
    this.file.check(start + 4, length * elementSize, place);
    this.file.charge(length * elementSize, place);
    return { start: start + 4, length };
  }

  /** Position of a field, 0 when absent. */
  private field(slot: number, size: number, name: string): number {
    const entry = 4 + 2 * slot;
    if (entry + 2 > this.vtableSize) return 0;
    const offset = this.file.view.getUint16(this.vtable + entry, true);
    if (offset === 0) return 0;
    if (offset + size > this.size) this.file.fail(`${this.place}.${name}`, 'the field lies outside its table');
    return this.position + offset;
  }
}
