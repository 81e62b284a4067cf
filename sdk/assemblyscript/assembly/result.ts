// SPDX-License-Identifier: Apache-2.0
// AssemblyScript cannot catch: what can fail returns a Result, or null | Failure where it has no value.
import { exit, printError } from "./wasi";

/** The errnos of WASI-NN. */
export namespace Code {
  export const INVALID_ARGUMENT = 1;
  export const INVALID_ENCODING = 2;
  export const MISSING_MEMORY = 3;
  export const BUSY = 4;
  export const RUNTIME_ERROR = 5;
  export const UNSUPPORTED_OPERATION = 6;
  export const TOO_LARGE = 7;
  export const NOT_FOUND = 8;
  /** Not of WASI-NN: the request to a guest that is served is at fault. */
  export const REQUEST = 400;
}

const NAMES: StaticArray<string> = [
  "success", "invalid_argument", "invalid_encoding", "missing_memory", "busy", "runtime_error",
  "unsupported_operation", "too_large", "not_found",
];

export function codeName(code: i32): string {
  return code >= 0 && code < NAMES.length ? NAMES[code] : "unknown error";
}

/** Why something failed, as a sentence for the user. */
@final export class Failure {
  constructor(
    public text: string,
    /** The host's errno, or what the host would have answered. */
    public code: i32 = Code.INVALID_ARGUMENT,
  ) {}

  /** The fault of a request to a guest that is served: its caller gets the text. */
  static ofRequest(text: string): Failure {
    return new Failure(text, Code.REQUEST);
  }

  toString(): string {
    return this.text;
  }
}

/** A value, or the Failure that came instead. */
@final export class Result<T> {
  private constructor(private found: T, private failure: Failure | null) {}

  static of<T>(value: T): Result<T> {
    return new Result<T>(value, null);
  }

  static failed<T>(text: string, code: i32 = Code.INVALID_ARGUMENT): Result<T> {
    return Result.from<T>(new Failure(text, code));
  }

  static from<T>(failure: Failure): Result<T> {
    // The value is never read: `value` looks at the failure first.
    return new Result<T>(isReference<T>() ? changetype<T>(0) : <T>0, failure);
  }

  get isFailed(): bool {
    return this.failure != null;
  }

  /** The Failure; one without text where there is none. */
  get error(): Failure {
    const failure = this.failure;
    return failure ? failure : new Failure("", 0);
  }

  /** The value. Where there is none, the error is printed and the program ends with exit code 1. */
  get value(): T {
    const failure = this.failure;
    if (failure) {
      printError(failure.text);
      exit(1);
    }
    return this.found;
  }
}

/** Where memory is missing. */
export function noMemory<T>(what: string): Result<T> {
  return Result.failed<T>("there is not enough memory for " + what, Code.MISSING_MEMORY);
}
