import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** What a rival answers (bench/rival/protocol.py). */
type Answer = { readonly ok: unknown } | { readonly error: string };

/** A rival that cannot take part; the message says why. */
export class RivalError extends Error {}

/** A rival in a Python process of its own that stays alive between requests, so that it can take turns with ours. */
export class RivalWorker {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  #stderr = '';
  #pending: { resolve(line: string): void; reject(error: Error): void } | undefined;

  /**
   * @param script - file in bench/rival
   * @param env - beside this process's environment
   */
  constructor(python: string, script: string, env: Readonly<Record<string, string>> = {}) {
    // build/bench/rivals/worker.js → bench/rival
    const file = fileURLToPath(new URL(`../../../bench/rival/${script}`, import.meta.url));
    this.#child = spawn(python, ['-B', file], { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#lines = createInterface({ input: this.#child.stdout! });
    this.#lines.on('line', (line) => this.#settle()?.resolve(line));
    this.#child.stderr!.on('data', (data: Buffer) => (this.#stderr = (this.#stderr + data.toString()).slice(-4000)));
    this.#child.stdin!.on('error', () => undefined); // the exit says more
    this.#child.on('error', (error) => this.#settle()?.reject(new RivalError(error.message)));
    this.#child.on('exit', (code, signal) => this.#settle()?.reject(new RivalError(`it ended (${signal ?? code}): ${this.#lastWords()}`)));
  }

  #settle(): { resolve(line: string): void; reject(error: Error): void } | undefined {
    const pending = this.#pending;
    this.#pending = undefined;
    return pending;
  }

  #lastWords(): string {
    return (this.#stderr.trim().split('\n').at(-1) ?? '').slice(0, 100);
  }

  /**
   * One request at a time.
   *
   * @param seconds - after which the rival is given up
   * @throws RivalError when the rival says so, ended, or takes too long.
   */
  async request(name: string, fields: Readonly<Record<string, unknown>> = {}, seconds = 60): Promise<unknown> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new RivalError(`it ended: ${this.#lastWords()}`);
    let timer: NodeJS.Timeout | undefined;
    const line = await new Promise<string>((resolve, reject) => {
      this.#pending = { resolve, reject };
      timer = setTimeout(() => this.#settle()?.reject(new RivalError(`no answer to '${name}' within ${seconds} s`)), seconds * 1000);
      this.#child.stdin!.write(`${JSON.stringify({ do: name, ...fields })}\n`);
    }).finally(() => clearTimeout(timer));
    const answer = JSON.parse(line) as Answer;
    if ('error' in answer) throw new RivalError(answer.error);
    return answer.ok;
  }

  /** Ends the process. */
  stop(): void {
    this.#lines.close();
    this.#child.kill('SIGKILL');
  }
}
