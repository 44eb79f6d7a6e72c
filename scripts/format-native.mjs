// Checks the layout of the C++ sources with clang-format, or repairs it: `node scripts/format-native.mjs [--write]`.
// Developers without clang-format are told so; where CI is set it must be there, so that the check cannot go missing unnoticed.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';

const sources = ['native', 'bench', 'test']
  .flatMap((folder) => readdirSync(folder, { recursive: true }).map((file) => path.join(folder, file)))
  .filter((file) => /\.(cpp|h|cuh?)$/.test(file));
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];
const { error, status } = spawnSync('clang-format', [...mode, ...sources], { stdio: 'inherit' });
if (error?.code === 'ENOENT') {
  console.error('clang-format is not installed (Debian: apt-get install clang-format): the C++ sources were not checked.');
  process.exitCode = process.env.CI ? 1 : 0;
} else {
  process.exitCode = status ?? 1;
}
