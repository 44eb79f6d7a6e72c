import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** What it answers (bench/rival/protocol.py). */
type Answer = { readonly ok: unknown } | { readonly error: string };

/** One that cannot take part; the message says why. */
export class WorkerError extends Error {}

/** A process that stays alive between requests, so that what it times can take turns with others. */
export class BenchWorker {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  #stderr = '';
  #pending: { resolve(line: string): void; reject(error: Error): void } | undefined;

  /** @param env - beside this process's environment */
  constructor(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#lines = createInterface({ input: this.#child.stdout! });
    this.#lines.on('line', (line) => this.#settle()?.resolve(line));
    this.#child.stderr!.on('data', (data: Buffer) => (this.#stderr = (this.#stderr + data.toString()).slice(-4000)));
    this.#child.stdin!.on('error', () => undefined); // the exit says more
    this.#child.on('error', (error) => this.#settle()?.reject(new WorkerError(error.message)));
    this.#child.on('exit', (code, signal) => this.#settle()?.reject(new WorkerError(`it ended (${signal ?? code}): ${this.#lastWords()}`)));
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
   * @param seconds - after which it is given up
   * @throws WorkerError when it says so, ended, or takes too long.
   */
  async request(name: string, fields: Readonly<Record<string, unknown>> = {}, seconds = 60): Promise<unknown> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new WorkerError(`it ended: ${this.#lastWords()}`);
    let timer: NodeJS.Timeout | undefined;
    const line = await new Promise<string>((resolve, reject) => {
      this.#pending = { resolve, reject };
      timer = setTimeout(() => this.#settle()?.reject(new WorkerError(`no answer to '${name}' within ${seconds} s`)), seconds * 1000);
      this.#child.stdin!.write(`${JSON.stringify({ do: name, ...fields })}\n`);
    }).finally(() => clearTimeout(timer));
    const answer = JSON.parse(line) as Answer;
    if ('error' in answer) throw new WorkerError(answer.error);
    return answer.ok;
  }

  /** Ends the process. */
  stop(): void {
    this.#lines.close();
    this.#child.kill('SIGKILL');
  }
}

/**
 * A rival in Python.
 *
 * @param script - file in bench/rival
 */
export function rivalWorker(python: string, script: string, env?: Readonly<Record<string, string>>): BenchWorker {
  // build/bench/worker.js → bench/rival
  return new BenchWorker(python, ['-B', fileURLToPath(new URL(`../../bench/rival/${script}`, import.meta.url))], env);
}

/** A process for each number of threads that times what it was prepared for, in the forms that it knows. */
export class TimingWorkers<Form extends string> {
  readonly #workers: ReadonlyMap<number, BenchWorker>;

  constructor(workers: ReadonlyMap<number, BenchWorker>) {
    this.#workers = workers;
  }

  /** What comes next; `sets` of operands are used in turn, as a network's layers have their own. */
  async prepare(threads: number, fields: Readonly<Record<string, unknown>>, sets: number): Promise<void> {
    await this.#workers.get(threads)!.request('prepare', { ...fields, sets });
  }

  /** Milliseconds of one, mean of `repeat` in a row after one more. */
  async run(threads: number, form: Form, repeat: number): Promise<number> {
    return (await this.#workers.get(threads)!.request('run', { form, repeat })) as number;
  }

  stop(): void {
    for (const worker of this.#workers.values()) worker.stop();
  }
}
