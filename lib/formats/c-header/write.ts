import { PcqatError } from '../../errors.js';
import { atomicWrite } from '../atomic-write.js';

/** Options of {@link encodeCHeader}. */
export interface CHeaderOptions {
  /** Name of the array, a C identifier; `<name>_len` is its length. Default `g_model`. */
  readonly name?: string;
}

/** What TensorFlow Lite Micro wants of a model's address. */
const ALIGNMENT = 16;
const BYTES_PER_LINE = 12;
const IDENTIFIER = /^[A-Za-z][A-Za-z0-9_]{0,59}$/;
/** Of C11, C23 and C++23. */
const KEYWORDS = new Set(
  (
    'alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class compl concept const ' +
    'const_cast consteval constexpr constinit continue co_await co_return co_yield decltype default delete do double dynamic_cast else ' +
    'enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr ' +
    'operator or or_eq private protected public register reinterpret_cast requires restrict return short signed sizeof static ' +
    'static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename typeof typeof_unqual ' +
    'union unsigned using virtual void volatile wchar_t while xor xor_eq'
  ).split(' '),
);

/**
 * A C header that holds a file as an array, for TensorFlow Lite Micro: `alignas(16) const unsigned char name[]` and
 * `const unsigned int name_len`. It compiles as C11 and as C++11 and needs no other file. Every file that includes it gets its own copy of
 * the array: include it from one.
 *
 * @param bytes - e.g. of `encodeTflite`
 * @throws PcqatError `ERR_OPTION` when the name is no C and C++ identifier, or for no bytes; `ERR_DTYPE` when they are no Uint8Array
 * @example
 * ```ts
 * import { encodeCHeader } from 'pcqat';
 * console.log(encodeCHeader(Uint8Array.of(1, 2, 3), { name: 'keyword_model' }));
 * ```
 */
export function encodeCHeader(bytes: Uint8Array, options: CHeaderOptions = {}): string {
  const { name = 'g_model' } = options;
  if (typeof name !== 'string' || !IDENTIFIER.test(name) || KEYWORDS.has(name) || name.includes('__')) {
    throw new PcqatError('ERR_OPTION', `'${String(name)}' is no identifier of C and C++`, {
      where: 'name',
      remedy: 'Use up to 60 letters, digits and single underscores, with a letter first; no keyword.',
    });
  }
  if (!(bytes instanceof Uint8Array))
    throw new PcqatError('ERR_DTYPE', 'encodeCHeader takes the bytes of a file as a Uint8Array', { where: 'bytes' });
  if (bytes.length === 0) throw new PcqatError('ERR_OPTION', 'there are no bytes, and C has no empty arrays', { where: 'bytes' });
  const guard = `PCQAT_${name.toUpperCase()}_H`;
  const hex = Array.from({ length: 256 }, (_, byte) => `0x${byte.toString(16).padStart(2, '0')}`);
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += BYTES_PER_LINE) {
    lines.push(`    ${Array.from(bytes.subarray(at, at + BYTES_PER_LINE), (byte) => hex[byte]).join(', ')},`);
  }
  return [
    `#ifndef ${guard}`,
    `#define ${guard}`,
    '',
    '#ifndef __cplusplus',
    '#include <stdalign.h>',
    '#endif',
    '',
    `alignas(${ALIGNMENT}) static const unsigned char ${name}[] = {`,
    ...lines,
    '};',
    `static const unsigned int ${name}_len = ${bytes.length};`,
    '',
    `#endif  /* ${guard} */`,
    '',
  ].join('\n');
}

/**
 * Writes a file as a C header; see {@link encodeCHeader}. The header appears complete or not at all.
 *
 * @param file - path of the header, e.g. `model.h`
 * @throws PcqatError `ERR_IO` when it cannot be written; else as {@link encodeCHeader}
 * @example
 * ```ts
 * import { convertToFloat, encodeTflite, writeCHeader, zoo } from 'pcqat';
 * await writeCHeader(encodeTflite(convertToFloat(zoo.mnistCnn())), 'model.h', { name: 'mnist_model' });
 * ```
 */
export async function writeCHeader(bytes: Uint8Array, file: string, options: CHeaderOptions = {}): Promise<void> {
  await atomicWrite(file, encodeCHeader(bytes, options));
}
