import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { encodeCHeader, writeCHeader } from '#lib/formats/c-header/write.js';
import { expectCode, expectRejection } from '../../support/errors.js';
import { randomNumbers } from '../../support/random.js';
import { inTemporaryFolder } from '../../support/temporary.js';

const random = randomNumbers(5);
const bytes = Uint8Array.from({ length: 1003 }, () => 256 * random());
const WARNINGS = ['-Wall', '-Wextra', '-Wpedantic', '-Werror'];

/** Includes the header twice, checks its alignment and prints the bytes. */
const PROGRAM = `#include "model.h"
#include "model.h"
#include <stdint.h>
#include <stdio.h>
int main(void) {
  if ((uintptr_t)keyword_model % 16 != 0 || sizeof(keyword_model) != keyword_model_len) return 1;
  return fwrite(keyword_model, 1, keyword_model_len, stdout) == keyword_model_len ? 0 : 1;
}
`;

describe('encodeCHeader', () => {
  it('writes guard, aligned array and length', () => {
    expect(
      encodeCHeader(
        Uint8Array.from({ length: 13 }, (_, i) => 20 * i),
        { name: 'tiny' },
      ),
    ).to.equal(`#ifndef PCQAT_TINY_H
#define PCQAT_TINY_H

#ifndef __cplusplus
#include <stdalign.h>
#endif

alignas(16) static const unsigned char tiny[] = {
    0x00, 0x14, 0x28, 0x3c, 0x50, 0x64, 0x78, 0x8c, 0xa0, 0xb4, 0xc8, 0xdc,
    0xf0,
};
static const unsigned int tiny_len = 13;

#endif  /* PCQAT_TINY_H */
`);
    expect(encodeCHeader(Uint8Array.of(1)))
      .to.include('g_model[]')
      .and.include('g_model_len = 1;');
  });

  for (const [compiler, extension, standard] of [
    ['gcc', 'c', '-std=c11'],
    ['gcc', 'c', '-std=c2x'],
    ['g++', 'cpp', '-std=c++11'],
    ['g++', 'cpp', '-std=c++20'],
  ] as const) {
    it(`compiles without a warning with ${compiler} ${standard}, to the same bytes`, function () {
      if (spawnSync(compiler, ['--version']).status !== 0) {
        console.log(`      skipped: there is no ${compiler}`);
        this.skip();
      }
      return inTemporaryFolder(async (folder) => {
        const [source, program] = [path.join(folder, `main.${extension}`), path.join(folder, 'main')];
        await writeCHeader(bytes, path.join(folder, 'model.h'), { name: 'keyword_model' });
        writeFileSync(source, PROGRAM);
        execFileSync(compiler, [standard, ...WARNINGS, source, '-o', program]);
        expect(new Uint8Array(execFileSync(program))).to.deep.equal(bytes);
      });
    });
  }

  it('refuses names that are no identifiers in C and C++, and what is no file', async () => {
    for (const name of ['', '1model', 'a-b', 'a b', 'modèle', '_Model', 'a__b', 'class', 'int', 'alignas', 'x'.repeat(61), 'a;int b']) {
      expectCode(() => encodeCHeader(bytes, { name }), 'ERR_OPTION', /identifier/);
    }
    expectCode(() => encodeCHeader(bytes, { name: 7 as unknown as string }), 'ERR_OPTION', /identifier/);
    expectCode(() => encodeCHeader(new Uint8Array()), 'ERR_OPTION', /no bytes/);
    expectCode(() => encodeCHeader('text' as unknown as Uint8Array), 'ERR_DTYPE');
    await expectRejection(writeCHeader(bytes, 'no-such-folder/model.h'), 'ERR_IO', /no-such-folder/);
  });

  it('writes a megabyte in one piece', () =>
    inTemporaryFolder(async (folder) => {
      const file = path.join(folder, 'model.h');
      await writeCHeader(new Uint8Array(2 ** 20).fill(255), file);
      expect(readFileSync(file, 'utf8').match(/0xff/g)).to.have.length(2 ** 20);
    }));
});
