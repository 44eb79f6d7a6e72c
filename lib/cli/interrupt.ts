/** Exit code of a process ended by Ctrl-C (128 + SIGINT). */
export const INTERRUPTED = 130;

/**
 * Runs a task that Ctrl-C (or SIGTERM) stops through its signal: it finishes its step and saves what it has. A second
 * Ctrl-C ends the process at once.
 */
export async function withInterrupt<T>(task: (signal: AbortSignal) => Promise<T>, onInterrupt: () => void): Promise<T> {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    onInterrupt();
    controller.abort(new Error('interrupted'));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  try {
    return await task(controller.signal);
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}
