/** A model in tfjs-tflite-node. Tensors are views into its memory. */
export interface TfliteInterpreter {
  getInputs(): readonly { data(): unknown }[];
  getOutputs(): readonly { data(): unknown }[];
  infer(): boolean;
}

/** The part of tfjs-tflite-node's addon that is used. */
interface Addon {
  readonly Interpreter: new (model: ArrayBuffer, options: { readonly threads: number }) => TfliteInterpreter;
}

/** Loads the addon; for processes of their own, which a model that crashes it may end. */
export function loadTfliteAddon(path: string): Addon {
  const module: { exports: Partial<Addon> } = { exports: {} };
  process.dlopen(module, path);
  if (module.exports.Interpreter === undefined) throw new Error('the addon is not that of tfjs-tflite-node');
  return module.exports as Addon;
}
