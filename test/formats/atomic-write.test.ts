import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { atomicWrite } from '#lib/formats/atomic-write.js';
import { expectRejection } from '../support/errors.js';

describe('atomicWrite', () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(path.join(tmpdir(), 'pcqat-'))));
  after(() => rm(folder, { recursive: true }));

  it('keeps the old file, and leaves no other, when there is no room for the new one', async function () {
    if (process.platform === 'win32') this.skip();
    const file = path.join(folder, 'file');
    await atomicWrite(file, 'old');
    const module = fileURLToPath(import.meta.resolve('#lib/formats/atomic-write.js'));
    const script = `
      import { atomicWrite } from ${JSON.stringify(module)};
      await atomicWrite(${JSON.stringify(file)}, new Uint8Array(1e6)).catch(({ code, message }) => console.log(code, message));`;
    // A limit on the size of files stands in for a full disk: the write ends in the middle.
    const output = execFileSync('bash', ['-c', 'ulimit -f 8; exec "$0" --input-type=module -e "$1"', process.execPath, script], {
      encoding: 'utf8',
    });
    expect(output).to.match(/^ERR_IO .*EFBIG.*limit on file sizes/);
    expect(await readFile(file, 'utf8')).to.equal('old');
    expect(await readdir(folder)).to.deep.equal(['file']);
  });

  it('says what to do where it cannot write', async () => {
    await expectRejection(atomicWrite(path.join(folder, 'none', 'file'), 'x'), 'ERR_IO', /Create the folder/);
    await atomicWrite(path.join(folder, 'plain'), 'x');
    await expectRejection(atomicWrite(path.join(folder, 'plain', 'file'), 'x'), 'ERR_IO', /part of the path is a file/);
  });
});
