/** Formats that a recipe can ask for. */
export const EXPORT_FORMATS = ['tflite', 'onnx', 'tfjs', 'c-header', 'tflite-float', 'tflite-float16', 'onnx-float'] as const;

/** A format of exported files. */
export type ExportFormat = (typeof EXPORT_FORMATS)[number];
