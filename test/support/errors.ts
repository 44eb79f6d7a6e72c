import { expect } from 'chai';
import { PcqatError, type PcqatErrorCode } from '#lib/errors.js';

function check(error: unknown, code: PcqatErrorCode, message?: RegExp): void {
  expect(error).to.be.instanceOf(PcqatError);
  expect((error as PcqatError).code).to.equal(code);
  if (message !== undefined) expect((error as PcqatError).message).to.match(message);
}

/** Expects a PcqatError with a code, and a message that says where. */
export function expectCode(action: () => unknown, code: PcqatErrorCode, message?: RegExp): void {
  let caught: unknown;
  try {
    action();
  } catch (error) {
    caught = error;
  }
  check(caught, code, message);
}

/** The same for a promise. */
export async function expectRejection(promise: Promise<unknown>, code: PcqatErrorCode, message?: RegExp): Promise<void> {
  const caught = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  check(caught, code, message);
}
