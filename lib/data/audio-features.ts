import type { MfccFunction } from './mfcc.js';

/** Mono samples in any unit. */
export type Clip = Int16Array | Float32Array;

/**
 * Features of clips of any length. Each is first brought to `length` samples (the middle of a longer one; zeros around a shorter one) and
 * scaled so that its largest magnitude is 1.
 */
export function clipFeatures(clips: readonly Clip[], length: number, features: MfccFunction): Float32Array {
  const sound = new Float32Array(length);
  let out: Float32Array | undefined;
  clips.forEach((clip, i) => {
    centre(clip, sound);
    normalizePeak(sound);
    const row = features(sound);
    out ??= new Float32Array(clips.length * row.length);
    out.set(row, i * row.length);
  });
  return out ?? new Float32Array(0);
}

function centre(clip: Clip, out: Float32Array): void {
  const shift = Math.floor((out.length - clip.length) / 2);
  out.fill(0);
  if (shift >= 0) out.set(clip, shift);
  else out.set(clip.subarray(-shift, -shift + out.length));
}

function normalizePeak(sound: Float32Array): void {
  let peak = 0;
  for (const sample of sound) peak = Math.max(peak, Math.abs(sample));
  if (peak === 0) return;
  for (let i = 0; i < sound.length; i++) sound[i] = (sound[i] as number) / peak;
}
