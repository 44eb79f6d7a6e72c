import { loadBinding, nativeInfo } from '#lib/native.js';
import { expect } from 'chai';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';

const root = path.resolve('.');
const addon = path.join(root, 'build/Release/pcqat.node');

/** Loads the core in a process of its own; prints the code and message of the error. */
async function loadIn(folder: string, env: Record<string, string> = {}): Promise<string> {
  const script = `import(${JSON.stringify(`file://${folder}/dist/native.js`)}).then(({ nativeInfo }) => {
    try { console.log('loaded', nativeInfo().path); } catch (error) { console.log(error.name, error.code, error.message); }
  })`;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', script], { env: { ...process.env, ...env } });
  return stdout;
}

describe('native core', () => {
  it('says what it is', () => {
    const info = nativeInfo();
    expect(info.path).to.equal(process.env['PCQAT_ADDON'] ?? addon);
    expect(info.availableIsas).to.include('scalar').and.to.include(info.isa);
    expect(loadBinding()).to.equal(loadBinding());
  });

  it('loads in a worker thread', async () => {
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads');
       import(${JSON.stringify(`file://${root}/dist/native.js`)}).then(({ loadBinding }) => {
         try { new (loadBinding().Session)({}, {}); } catch (error) { parentPort.postMessage(error.name + ' ' + error.code); }
       });`,
      { eval: true },
    );
    const message = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await worker.terminate();
    expect(message).to.match(/^PcqatError ERR_/);
  });

  it('refuses an instruction set that is not there', async () => {
    expect(await loadIn(root, { PCQAT_ISA: 'mmx' })).to.match(/^PcqatError ERR_ISA .*mmx/);
  });

  describe('that cannot be loaded', () => {
    let folder: string;
    const install = async () => {
      folder = await mkdtemp(path.join(tmpdir(), 'pcqat-native-'));
      await mkdir(path.join(folder, 'dist'));
      for (const file of ['dist/native.js', 'dist/errors.js', 'package.json']) await cp(path.join(root, file), path.join(folder, file));
    };
    beforeEach(install);
    afterEach(() => rm(folder, { recursive: true }));

    it('lists the places where it was looked for, and remedies', async () => {
      const output = await loadIn(folder);
      expect(output).to.match(/^PcqatError ERR_NATIVE_MISSING/);
      expect(output).to.include(`source build ${folder}/build/Release/pcqat.node: there is no such file`);
      expect(output).to.match(/package @pcqat\/\w+-\w+(-gnu|-musl)?: not installed \(optional dependencies were omitted/);
      expect(output).to.match(/Install again without --omit=optional.*build:native/s);
    });

    it('is found in the package of the platform', async () => {
      const { platform, arch } = process;
      const name = platform === 'linux' ? `${platform}-${arch}-gnu` : `${platform}-${arch}`;
      const packageFolder = path.join(folder, 'node_modules/@pcqat', name);
      await mkdir(packageFolder, { recursive: true });
      await cp(addon, path.join(packageFolder, 'pcqat.node'));
      await writeFile(path.join(packageFolder, 'package.json'), '{}');
      expect(await loadIn(folder)).to.equal(`loaded ${path.join(packageFolder, 'pcqat.node')}\n`);
    });

    it('explains damaged, foreign and mismatched files', async () => {
      const file = path.join(folder, 'other.node');
      const tryFile = async (bytes: Uint8Array) => {
        await writeFile(file, bytes);
        return loadIn(folder, { PCQAT_ADDON: file });
      };
      const bytes = await readFile(addon);
      expect(await tryFile(Buffer.from('console.log("run")'))).to.match(/ERR_NATIVE_MISSING.*PCQAT_ADDON=.*damaged, or is no addon/s);
      expect(await tryFile(bytes.subarray(0, 5000))).to.match(/ERR_NATIVE_MISSING.*truncated/s);
      const foreign = Buffer.from(bytes);
      foreign.writeUInt16LE(0x28, 18);
      expect(await tryFile(foreign)).to.match(/ERR_NATIVE_MISSING.*another CPU architecture/s);
      expect(await loadIn(folder, { PCQAT_ADDON: path.join(folder, 'none.node') })).to.match(/none\.node: there is no such file/);

      const manifest = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8'));
      await writeFile(path.join(folder, 'package.json'), JSON.stringify({ ...manifest, version: '99.0.0' }));
      expect(await tryFile(bytes)).to.match(/ERR_NATIVE_MISSING.*it is version .*, but version 99\.0\.0 is needed/s);
    });
  });
});
