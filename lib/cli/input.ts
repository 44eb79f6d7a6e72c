/** Names in a file are its writer's: control characters must not reach the terminal. */
// eslint-disable-next-line no-control-regex
export const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '�');

/** Names of layers in tables; some converters join those of many nodes. */
export const shortened = (name: string, most = 48): string =>
  name.length > most ? `${printable(name.slice(0, most - 1))}…` : printable(name);
