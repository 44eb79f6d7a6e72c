import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { PcqatError } from '../errors.js';

const require = createRequire(import.meta.url);

/** Loads an optional package; `undefined` where it is not installed. What goes wrong inside it is thrown. */
export async function loadIfInstalled<T>(name: string): Promise<T | undefined> {
  try {
    return (await import(name)) as T;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    // Of the package itself: one that lacks a dependency of its own is damaged.
    if (code === 'ERR_MODULE_NOT_FOUND' && message.includes(`'${name}'`)) return undefined;
    throw new PcqatError('ERR_MISSING_PEER', `${name} is installed but cannot be loaded: ${message}`, {
      where: name,
      remedy: `Install it again: \`npm install ${name}\`.`,
      cause,
    });
  }
}

/** @throws PcqatError `ERR_MISSING_PEER` that says what to install */
export function missingPeer(name: string, purpose: string): PcqatError {
  return new PcqatError('ERR_MISSING_PEER', `${name} is not installed, which ${purpose} needs`, {
    where: name,
    remedy: `Run \`npm install ${name}\`.`,
  });
}

/** Version of an installed package; empty where it does not say. */
export function packageVersion(name: string): string {
  // Its package.json may not be exported, so it is looked for in the folders above its entry.
  try {
    for (let folder = require.resolve(name), up = ''; folder !== up; up = folder, folder = folder.replace(/[/\\][^/\\]*$/, '')) {
      try {
        const found = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')) as { name?: string; version?: string };
        if (found.name === name) return found.version ?? '';
      } catch {
        // go on with the folder above
      }
    }
  } catch {
    // no such entry for require: no version to tell
  }
  return '';
}
