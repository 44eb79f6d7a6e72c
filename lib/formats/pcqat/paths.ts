/** The two files of a model saved as `path`, which may end in `.json`. */
export function modelPaths(path: string): { readonly json: string; readonly bin: string } {
  const stem = path.endsWith('.json') ? path.slice(0, -'.json'.length) : path;
  return { json: `${stem}.json`, bin: `${stem}.bin` };
}
