// busboy for a parent process in another language. One JSON object a line, bytes in base64.
//   stdin:  { contentType, pieces: [data, ...] }
//   stdout: { parts: [{ name, filename, contentType, data }, ...] }  or  { error }
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';

import { readForm } from './busboy_form.mjs';

async function answer({ contentType, pieces }) {
  const source = Readable.from(pieces.map((piece) => Buffer.from(piece, 'base64')));
  try {
    const parts = await readForm({ 'content-type': contentType }, source);
    return { parts: parts.map((part) => ({ ...part, data: part.data.toString('base64') })) };
  } catch (error) {
    return { error: error.message };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
