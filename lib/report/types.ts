/** One epoch of training, as drawn in the loss curves. */
export interface EpochReport {
  /** Technique trained, e.g. `prune`. */
  readonly stage: string;
  /** 1-based, counted over the whole column. */
  readonly epoch: number;
  readonly loss: number;
  /** Fraction, on training examples as seen (augmented, before each update). */
  readonly accuracy: number;
  readonly validationLoss?: number;
  readonly validationAccuracy?: number;
}

/** One training run of a column. */
export interface StageReport {
  readonly stage: string;
  readonly epochs: number;
  readonly steps: number;
  /** Trained once and used by other columns too. */
  readonly shared: boolean;
}

/** Counts of weights in equal bins over `[-limit, limit]`. */
export interface Histogram {
  readonly limit: number;
  readonly counts: readonly number[];
}

/** The weight of one layer in an exported file. */
export interface LayerReport {
  readonly name: string;
  /** Number of weights. */
  readonly weights: number;
  /** Fraction of weights that are zero in the file. */
  readonly zeros: number;
  /** Distinct int8 codes in the file. */
  readonly codes: number;
  /** The stored weight after the float base. */
  readonly before?: Histogram;
  /** The weight that the trained layer uses (masked and shared where it is). */
  readonly after?: Histogram;
}

/** Agreement of the model that was trained with the exported file. Differences are in steps (scales) of the output. */
export interface AgreementReport {
  readonly rows: number;
  /** Fraction of rows with the same arg-max. */
  readonly agreement: number;
  /** Mean and largest absolute difference. */
  readonly meanSteps: number;
  readonly maxSteps: number;
}

/** Of the simulation: the training graph, each quantizer rounding as the integer kernel. */
export interface FidelityReport extends AgreementReport {
  /** Of the training graph as it is, with fake quantization. */
  readonly fakeQuant: AgreementReport;
}

/** A file that a column was exported to beside its int8 .tflite. */
export interface ExportReport {
  readonly format: string;
  /** File name in the output folder. */
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** A column of the table. Accuracies are fractions of the test part. */
export interface ColumnReport {
  readonly title: string;
  /** Of the model as trained: float, or with fake quantization (see `accuracyOf`). */
  readonly accuracy: number;
  readonly accuracyOf: 'float' | 'fake-int8';
  /** Of the exported file, read back from disk, on the integer executor. */
  readonly int8Accuracy: number;
  /** File name in the output folder. */
  readonly file: string;
  /** File name of its certificate, in the same folder. */
  readonly certificate: string;
  readonly sha256: string;
  /** Files in other formats; absent where there are none. */
  readonly exports?: readonly ExportReport[];
  readonly bytes: number;
  readonly gzipBytes: number;
  readonly brotliBytes: number;
  /** As the only entry of a .zip archive. */
  readonly zipBytes: number;
  /** Fraction of zeros over the weights of all layers. */
  readonly zeros: number;
  /** Most distinct codes in one layer. */
  readonly maxCodes: number;
  readonly layers: readonly LayerReport[];
  /** How far simulation and exported file agree on the test part; absent for columns quantized after training. */
  readonly fidelity?: FidelityReport;
  readonly epochs: number;
  readonly steps: number;
  readonly stages: readonly StageReport[];
  readonly history: readonly EpochReport[];
}

/** Where the numbers were made. */
export interface MachineReport {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly platform: string;
  readonly node: string;
  /** Instruction set in use. */
  readonly isa: string;
  readonly threads: number;
}

/** The data of a report. */
export interface DataReport {
  readonly train: number;
  readonly validation: number;
  readonly test: number;
  readonly classes: number;
  /** Licence and credit. */
  readonly credit: string;
}

/** `report.json`. */
export interface Report {
  /** Version of this format. */
  readonly version: 1;
  readonly pcqat: string;
  readonly title: string;
  readonly model: string;
  readonly data: string;
  readonly seed: number;
  /** Wall clock of training, export and evaluation, over all runs where it was resumed. */
  readonly seconds: number;
  readonly sparsity: number;
  readonly clusters: number;
  readonly dataset: DataReport;
  /** What every column was given. */
  readonly budget: { readonly epochs: number; readonly steps: number; readonly batchSize: number };
  readonly machine: MachineReport;
  readonly columns: Readonly<Partial<Record<string, ColumnReport>>>;
  readonly recipe: unknown;
}
