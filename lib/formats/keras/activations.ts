import { Refusal } from '../import/attempt.js';
import { LayerConfig, field, isObject, type JsonObject } from './json.js';
import { type LayerReader, type NodeAttributes } from './layer.js';

const REMEDY = 'Use linear, relu, relu6, leaky_relu, sigmoid, tanh, hard_swish, silu or softmax.';

const BY_NAME: ReadonlyMap<string, NodeAttributes> = new Map<string, NodeAttributes>([
  ['relu', { op: 'relu' }],
  ['relu6', { op: 'relu6' }],
  ['sigmoid', { op: 'sigmoid' }],
  ['tanh', { op: 'tanh' }],
  ['softmax', { op: 'softmax' }],
  ['hard_silu', { op: 'hardSwish' }],
  ['hard_swish', { op: 'hardSwish' }],
  ['hardSwish', { op: 'hardSwish' }],
  ['hardswish', { op: 'hardSwish' }],
  ['leaky_relu', { op: 'leakyRelu', alpha: 0.2 }],
]);
const SILU = new Set(['silu', 'swish']);

/** Adds the activation that a config names; x itself for `linear`. */
export function activate(reader: LayerReader, x: string, activation: unknown, asOwnLayer = false): string {
  if (isObject(activation) && isActivationLayer(activation)) {
    const config = field(activation, 'config');
    return activationLayer(
      reader,
      x,
      field(activation, 'class_name'),
      new LayerConfig(isObject(config) ? config : {}, `layer '${reader.name}'`),
    );
  }
  const name = nameOf(activation);
  if (name === 'linear') return x;
  if (SILU.has(name)) {
    const gate = reader.add([x], { op: 'sigmoid' }, { suffix: '_sigmoid' });
    return reader.add([x, gate], { op: 'multiply' }, { suffix: asOwnLayer ? '' : '_silu' });
  }
  const attributes = BY_NAME.get(name);
  if (attributes === undefined) throw new Refusal(`there is no activation '${name.slice(0, 100)}'`, REMEDY);
  return reader.add([x], attributes, { suffix: asOwnLayer ? '' : `_${attributes.op}` });
}

/** `"relu"`, or `{ class_name: "function", config: "relu" }` and the like. */
function nameOf(activation: unknown): string {
  if (activation === undefined || activation === null) return 'linear';
  const name = isObject(activation)
    ? typeof activation['config'] === 'string'
      ? field(activation, 'config')
      : field(activation, 'class_name')
    : activation;
  return typeof name === 'string' ? name : 'unknown';
}

const LAYERS = new Set(['ReLU', 'LeakyReLU', 'Softmax']);

function isActivationLayer(activation: JsonObject): boolean {
  return LAYERS.has(String(field(activation, 'class_name')));
}

/** ReLU, LeakyReLU and Softmax as layers, or as the activation of one. */
export function activationLayer(reader: LayerReader, x: string, className: unknown, config: LayerConfig): string {
  const suffix = className === reader.className ? '' : `_${String(className)}`;
  switch (className) {
    case 'ReLU':
      return reader.add([x], reluOf(config), { suffix });
    case 'LeakyReLU': {
      const alpha = config.number('alpha', config.number('negative_slope', 0.3));
      return reader.add([x], { op: 'leakyRelu', alpha }, { suffix });
    }
    default: {
      const axis = config.get('axis') ?? -1;
      const last = Array.isArray(axis) && axis.length === 1 ? (axis[0] as unknown) : axis;
      if (last !== -1 && last !== reader.shapeOf(x).length) throw new Refusal('its axis is not the last', 'Use axis -1.');
      return reader.add([x], { op: 'softmax' }, { suffix });
    }
  }
}

function reluOf(config: LayerConfig): NodeAttributes {
  const slope = config.number('negative_slope', 0);
  const threshold = config.number('threshold', 0);
  const maximum = config.get('max_value') === undefined ? Infinity : config.number('max_value', Infinity);
  if (threshold !== 0) throw new Refusal(`its threshold is ${threshold}`, 'Use a threshold of 0.');
  if (slope === 0 && maximum === Infinity) return { op: 'relu' };
  if (slope === 0 && maximum === 6) return { op: 'relu6' };
  if (slope > 0 && maximum === Infinity) return { op: 'leakyRelu', alpha: slope };
  throw new Refusal(
    `it is a ReLU with max_value ${maximum === Infinity ? 'None' : maximum} and negative_slope ${slope}`,
    'Use max_value None or 6, and a negative_slope only without max_value.',
  );
}
