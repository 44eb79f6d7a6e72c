import { duration, percent, thousands } from '../report/format.js';
import type { ProgressEvent } from '../pipeline/progress.js';

/** Where progress is written: a terminal, a log, or JSON lines for a machine. */
export interface ProgressOutput {
  write(event: ProgressEvent): void;
  /** A remark for the reader. */
  note(text: string): void;
  /** Ends a progress bar. */
  end(): void;
}

/** One JSON object a line on stdout; no step events, they would be thousands. */
export function jsonOutput(): ProgressOutput {
  return {
    write: (event) => {
      if (event.type !== 'step') process.stdout.write(`${JSON.stringify(event)}\n`);
    },
    note: (text) => process.stderr.write(`${text}\n`),
    end: () => undefined,
  };
}

/** An event as a line of text; steps have none. */
function describe(event: ProgressEvent): string | undefined {
  switch (event.type) {
    case 'data':
      return `${event.name}: ${thousands(event.train)} training, ${thousands(event.validation)} validation, ${thousands(event.test)} test examples`;
    case 'resume':
      return `going on: ${event.finishedStages} stages and ${event.finishedColumns.length} columns are finished`;
    case 'stage':
      return `${event.stage}, ${event.epochs} epochs, for ${event.columns.join(', ')}`;
    case 'epoch': {
      const validation = event.validationAccuracy === undefined ? '' : ` · validation ${percent(event.validationAccuracy)} %`;
      const eta = event.done < 1 ? ` · ${duration(event.etaSeconds)} left` : '';
      return `  ${event.stage} ${event.epoch}/${event.epochs} · loss ${event.loss.toFixed(4)} · train ${percent(event.accuracy)} %${validation}${eta}`;
    }
    case 'column':
      return (
        `${event.title}: ${percent(event.accuracy)} %, int8 ${percent(event.int8Accuracy)} %, ` +
        `${thousands(event.bytes)} → ${thousands(event.gzipBytes)} bytes (${event.file})`
      );
    case 'checkpoint':
      return `checkpoint saved in ${event.path}`;
    case 'step':
      return undefined;
  }
}

/** Plain lines on stderr, for logs. */
export function lineOutput(): ProgressOutput {
  return {
    write: (event) => {
      const text = describe(event);
      if (text !== undefined) process.stderr.write(`${text}\n`);
    },
    note: (text) => process.stderr.write(`${text}\n`),
    end: () => undefined,
  };
}

const BAR_WIDTH = 24;
const REDRAW_MILLISECONDS = 100;

/** A bar with the time left, redrawn in place; finished columns stay above it. */
export function barOutput(stream: NodeJS.WriteStream = process.stderr): ProgressOutput {
  let drawnAt = 0;
  let open = false;
  const clear = (): void => {
    if (open) stream.write('\r\x1b[K');
    open = false;
  };
  const draw = (text: string): void => {
    stream.write(`\r\x1b[K${text.slice(0, Math.max(20, (stream.columns || 80) - 1))}`);
    open = true;
  };
  const line = (text: string): void => {
    clear();
    stream.write(`${text}\n`);
  };
  return {
    write: (event) => {
      if (event.type === 'step' || event.type === 'epoch') {
        const now = performance.now();
        if (event.type === 'step' && now - drawnAt < REDRAW_MILLISECONDS) return;
        drawnAt = now;
        const filled = Math.round(event.done * BAR_WIDTH);
        const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
        const eta = event.etaSeconds > 0 ? `${duration(event.etaSeconds)} left` : '';
        draw(
          `${bar} ${percent(event.done, 0).padStart(3)} %  ${eta}  ${event.stage} ${event.epoch}/${event.epochs}  loss ${event.loss.toFixed(4)}`,
        );
        return;
      }
      const text = event.type === 'stage' ? undefined : describe(event);
      if (text !== undefined) line(text);
    },
    note: line,
    end: clear,
  };
}

/** Picks the output for `--json`, a terminal or a log. */
export function progressOutput(json: boolean): ProgressOutput {
  if (json) return jsonOutput();
  return process.stderr.isTTY ? barOutput() : lineOutput();
}
