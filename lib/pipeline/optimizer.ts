import { adam, adamw, sgd, type Optimizer } from '../train/optimizers.js';
import { cosineDecay, exponentialDecay, warmUp, type LearningRate } from '../train/schedules.js';
import type { Recipe } from './recipe.js';
import type { RecipeLearningRate, Stage } from './stage-schema.js';

/** Turns the recipe's words, which are relative to the stage, into a schedule over its steps. */
export function stageLearningRate(rate: RecipeLearningRate, epochs: number, stepsPerEpoch: number): LearningRate {
  if (typeof rate === 'number') return rate;
  const warmUpSteps = Math.round((rate.warmUpEpochs ?? 0) * stepsPerEpoch);
  const decaySteps = Math.max(1, epochs * stepsPerEpoch - warmUpSteps);
  const then =
    rate.kind === 'cosine'
      ? cosineDecay({ initial: rate.from, decaySteps, alpha: rate.to / rate.from })
      : exponentialDecay({ initial: rate.from, decaySteps, decayRate: rate.to / rate.from });
  return warmUpSteps === 0 ? then : warmUp({ steps: warmUpSteps, then });
}

/** The optimizer of one stage. */
export function stageOptimizer(recipe: Recipe, stage: Stage, stepsPerEpoch: number): Optimizer {
  const learningRate = stageLearningRate(stage.learningRate ?? recipe.learningRate, stage.epochs, stepsPerEpoch);
  // absent options stay absent, so that the defaults of the optimizer hold
  const { kind, ...given } = recipe.optimizer;
  const options = { ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)), learningRate };
  switch (kind) {
    case 'adam':
      return adam(options);
    case 'adamw':
      return adamw(options);
    case 'sgd':
      return sgd(options);
  }
}
