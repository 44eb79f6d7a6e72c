import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'chai';
import { describe, it } from 'mocha';

const MODULE = pathToFileURL(resolve('dist/cli/interrupt.js')).href;

/** Runs a task under `withInterrupt` in a process of its own and sends it one Ctrl-C for every `ready` line. */
function interrupted(task: string): Promise<{ code: number | null; stdout: string }> {
  const script = `
    import { withInterrupt } from ${JSON.stringify(MODULE)};
    const say = (text) => process.stdout.write(text + '\\n');
    const keepAlive = setInterval(() => undefined, 1000);
    await withInterrupt(async (signal) => { ${task} }, () => say('note'));
    clearInterval(keepAlive);
    say('after');`;
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
    let stdout = '';
    child.stdout.on('data', (chunk: Buffer) => {
      const text = chunk.toString();
      stdout += text;
      for (let i = text.split('ready').length - 1; i > 0; i--) child.kill('SIGINT');
    });
    child.on('error', fail);
    child.on('close', (code) => done({ code, stdout }));
  });
}

describe('withInterrupt', () => {
  it('lets the task end in order at the first Ctrl-C', async () => {
    const { code, stdout } = await interrupted(
      `await new Promise((done) => { signal.addEventListener('abort', () => { say('saving'); done(); }); say('ready'); });`,
    );
    expect(stdout.trim().split('\n')).to.deep.equal(['ready', 'note', 'saving', 'after']);
    expect(code).to.equal(0);
  });

  it('ends the process at once at the second', async () => {
    const { code, stdout } = await interrupted(
      `signal.addEventListener('abort', () => say('ready')); say('ready'); await new Promise(() => undefined);`,
    );
    expect(stdout.trim().split('\n')).to.deep.equal(['ready', 'note', 'ready']);
    expect(code).to.equal(130);
  });
});
