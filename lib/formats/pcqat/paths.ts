/**
 * The files of a model saved as `path`, which may end in `.json`. `next` exists only while a model is being replaced, or after a
 * crash in that moment: the data that the new `.json` describes.
 */
export function modelPaths(path: string): { readonly json: string; readonly bin: string; readonly next: string } {
  const stem = path.endsWith('.json') ? path.slice(0, -'.json'.length) : path;
  return { json: `${stem}.json`, bin: `${stem}.bin`, next: `${stem}.next.bin` };
}
