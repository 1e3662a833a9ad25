// Reads a form with busboy: for busboy_bridge.mjs, which is fed by the tests, and for servers/echo.mjs, behind HTTP.
import busboy from 'busboy';

// The default limit of 1 MiB for a field is a guard for servers, and no test is about it.
const limits = { fieldSize: Infinity };

/** The parts of the form that `source` (a Readable) carries: [{ name, filename, contentType, data }, ...]. */
export async function readForm(headers, source) {
  // busboy reads the other type of forms too, and its fields would look the same.
  if (!/^multipart\/form-data *;/i.test(headers['content-type'])) throw new Error('not the type of a form');

  // busboy gives a field as text, decoded by the charset that its part names or else by `defCharset`, and does not say
  // which. Read under two defaults, it shows: only where the part names none do the two texts differ (or the bytes are
  // ASCII, and it makes no difference). Latin-1 text is the bytes; a charset that is named is taken to be UTF-8.
  const [latin1, utf8] = await Promise.all(
    ['latin1', 'utf8'].map((defCharset) => readParts(headers, source, defCharset)),
  );
  return latin1.map(({ text, ...part }, index) => {
    if (part.data) return part;
    if (text === undefined) throw new Error(`busboy does not know the charset of the field ${part.name}`);
    return { ...part, data: Buffer.from(text, text === utf8[index].text ? 'utf8' : 'latin1') };
  });
}

function readParts(headers, source, defCharset) {
  return new Promise((resolve, reject) => {
    const parts = [];
    const parser = busboy({ headers, limits, preservePath: true, defParamCharset: 'utf8', defCharset });
    parser.on('field', (name, text, { mimeType }) => {
      parts.push({ name: name ?? '', filename: null, contentType: mimeType, text });
    });
    parser.on('file', (name, content, { filename, mimeType }) => {
      const part = { name: name ?? '', filename: filename ?? null, contentType: mimeType };
      parts.push(part);
      const chunks = [];
      content.on('data', (chunk) => chunks.push(chunk));
      content.on('end', () => {
        part.data = Buffer.concat(chunks);
      });
      content.on('error', reject);
    });
    parser.on('error', reject);
    parser.on('close', () => resolve(parts));
    source.pipe(parser);
  });
}
