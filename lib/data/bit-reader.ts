import { PcqatError } from '../errors.js';

/** Reads big-endian bit fields. Reading past the end throws `ERR_FORMAT`. */
export class BitReader {
  readonly #bytes: Uint8Array;
  readonly #where: string;
  readonly #end: number;
  #position = 0;

  constructor(bytes: Uint8Array, where: string) {
    // Bit positions are 32-bit numbers.
    if (bytes.length >= 2 ** 28) throw new PcqatError('ERR_UNSUPPORTED', 'the data is longer than 256 MiB', { where });
    // Room for the four bytes that a read may look ahead, so that every access is inside the array.
    this.#bytes = new Uint8Array(bytes.length + 5);
    this.#bytes.set(bytes);
    this.#where = where;
    this.#end = bytes.length * 8;
  }

  /** Whole bytes not yet begun. */
  get bytesLeft(): number {
    return (this.#end - this.#position) >>> 3;
  }

  skip(bits: number): void {
    this.#position += bits;
    if (this.#position > this.#end) throw this.#truncated();
  }

  alignToByte(): void {
    this.#position = (this.#position + 7) & ~7;
  }

  /** Unsigned, 0 to 32 bits. */
  read(bits: number): number {
    if (bits === 0) return 0;
    const value = this.#peek32() >>> (32 - bits);
    this.skip(bits);
    return value;
  }

  /** Two's complement, 1 to 32 bits. */
  readSigned(bits: number): number {
    const value = this.#peek32() >> (32 - bits);
    this.skip(bits);
    return value;
  }

  /** Number of zeros before the next one. */
  readUnary(): number {
    let count = 0;
    for (;;) {
      const window = this.#peek32();
      const zeros = Math.clz32(window);
      if (zeros < 32) {
        this.skip(zeros + 1);
        return count + zeros;
      }
      this.skip(32);
      count += 32;
    }
  }

  /** Signed Rice code: quotient in unary, `parameter` bits of remainder, sign in the lowest bit. Wraps at 32 bits. */
  readRice(parameter: number): number {
    const folded = (this.readUnary() << parameter) | this.read(parameter);
    return (folded >>> 1) ^ -(folded & 1);
  }

  /** The next 32 bits; zeros past the end. */
  #peek32(): number {
    const byte = this.#position >>> 3;
    const bit = this.#position & 7;
    const bytes = this.#bytes;
    const word =
      ((bytes[byte] as number) << 24) |
      ((bytes[byte + 1] as number) << 16) |
      ((bytes[byte + 2] as number) << 8) |
      (bytes[byte + 3] as number);
    return (word << bit) | ((bytes[byte + 4] as number) >> (8 - bit));
  }

  #truncated(): PcqatError {
    return new PcqatError('ERR_FORMAT', 'the data ends too early', { where: this.#where, remedy: 'Install or copy the file again.' });
  }
}
