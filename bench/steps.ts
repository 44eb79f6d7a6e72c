import { adam } from '#lib/train/optimizers.js';
import { lower } from '#lib/train/lower.js';
import { softmaxCrossEntropy } from '#lib/train/losses.js';
import { loadBinding } from '#lib/native.js';
import type { Model } from '#lib/graph/model.js';
import type { Session } from '../binding.js';
import { stepFloor, type Floor } from './floor.js';
import { interleave, type Candidate } from './interleave.js';
import { NETS, noiseBatch, pcqatOf, type Net } from './nets.js';

/** One network: a training step with and without PCQAT. */
export interface StepResult {
  readonly net: string;
  readonly batch: number;
  readonly floatMs: number;
  readonly pcqatMs: number;
  /** pcqatMs / floatMs. */
  readonly ratio: number;
  readonly rounds: number;
  readonly floor: Floor;
  /** Planned memory of the session: activations, gradients, workspaces. */
  readonly floatArenaBytes: number;
  readonly pcqatArenaBytes: number;
}

function session(model: Model, maxBatch: number, threads: number): Session {
  const { program, tensors } = lower(model, { loss: softmaxCrossEntropy() });
  const { Session } = loadBinding();
  const made = new Session(program, { maxBatch, training: true, optimizer: adam().spec, threads });
  for (const [name, id] of tensors) made.setTensor(id, model.tensors.get(name)!.data);
  return made;
}

async function measureNet({ name, batch: rows, make }: Net, threads: number, seconds: number): Promise<StepResult> {
  const model = make();
  const batch = noiseBatch(model, rows);
  const sessions = { float: session(model, rows, threads), pcqat: session(await pcqatOf(model, batch), rows, threads) };
  const candidates = Object.entries(sessions).map(([technique, one]): Candidate => {
    let step = 0;
    return { name: technique, run: () => one.trainStep(batch.x, batch.y, { learningRate: 1e-3, step: ++step }) };
  });
  const times = await interleave(candidates, seconds);
  const [float, pcqat] = [times.get('float')!, times.get('pcqat')!];
  const result = {
    net: name,
    batch: rows,
    floatMs: float.median,
    pcqatMs: pcqat.median,
    ratio: pcqat.median / float.median,
    rounds: float.rounds,
    floor: stepFloor(model, rows),
    floatArenaBytes: sessions.float.arenaBytes,
    pcqatArenaBytes: sessions.pcqat.arenaBytes,
  };
  for (const one of Object.values(sessions)) one.dispose();
  return result;
}

/** Training steps of the benchmark networks. */
export async function measureSteps(threads: number, seconds: number): Promise<StepResult[]> {
  const results: StepResult[] = [];
  for (const net of NETS) results.push(await measureNet(net, threads, seconds));
  return results;
}
