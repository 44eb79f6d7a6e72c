import { demoRecipe, type DemoOptions } from '../../pipeline/demo.js';
import { shellCommand } from '../shell.js';
import { train, type TrainCommandOptions } from './train.js';

/** `pcqat demo`. */
export async function demoCommand(options: DemoOptions & Omit<TrainCommandOptions, 'resumeCommand'>): Promise<void> {
  await train(demoRecipe(options), { ...options, resumeCommand: shellCommand() });
}
