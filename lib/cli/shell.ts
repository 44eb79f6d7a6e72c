/** This command line again, with `--resume`, ready to paste into a shell. */
export function shellCommand(args: readonly string[] = process.argv.slice(2)): string {
  const kept = args.filter((arg) => arg !== '--fresh' && arg !== '--resume');
  const quoted = kept.map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`));
  return ['pcqat', ...quoted, '--resume'].join(' ');
}
