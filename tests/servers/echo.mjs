// The echo contract on Node's http server.
//   node echo.mjs PLAIN_LISTENING_FD TLS_LISTENING_FD PEM
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';

import { readForm } from '../parsers/busboy_form.mjs';

const SHOWN_BELOW = 4096;
const CHUNK = 1000;

async function read(request) {
  const hash = createHash('sha256');
  let length = 0;
  let shown = Buffer.alloc(0);
  for await (const chunk of request) {
    hash.update(chunk);
    length += chunk.length;
    if (shown.length < SHOWN_BELOW) shown = Buffer.concat([shown, chunk]).subarray(0, SHOWN_BELOW);
  }
  return told(length, hash, shown);
}

function told(length, hash, bytes) {
  const sha256 = hash.digest('hex');
  return length < SHOWN_BELOW ? { length, sha256, body_latin1: bytes.toString('latin1') } : { length, sha256 };
}

function answerJson(response, value, status = 200) {
  const body = JSON.stringify(value);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

async function echo(request, response, url) {
  const headers = [];
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    headers.push([request.rawHeaders[i].toLowerCase(), request.rawHeaders[i + 1]]);
  }
  const { method } = request;
  answerJson(response, { method, path: url.path, query: url.query, headers, ...(await read(request)) });
}

async function form(request, response) {
  let parts;
  try {
    parts = await readForm(request.headers, request);
  } catch (error) {
    request.resume();
    answerJson(response, { error: error.message }, 400);
    return;
  }
  answerJson(response, {
    parts: parts.map(({ name, filename, contentType, data }) => ({
      name,
      filename,
      content_type: contentType,
      ...told(data.length, createHash('sha256').update(data), data),
    })),
  });
}

async function status(request, response, url) {
  await read(request);
  response.writeHead(url.code).end();
}

async function early(request, response, url) {
  response.writeHead(url.code).end();
}

async function redirect(request, response, url) {
  await read(request);
  response.writeHead(url.code, { location: new URLSearchParams(url.query).get('to') }).end();
}

async function chunked(request, response, url) {
  const count = Number(new URLSearchParams(url.query).get('n'));
  response.writeHead(200, { 'content-type': 'application/octet-stream' });
  for (let start = 0; start < count; start += CHUNK) {
    const length = Math.min(CHUNK, count - start);
    response.write(Buffer.from(Array.from({ length }, (_, i) => (start + i) % 251)));
  }
  response.end();
}

const handlers = { echo, form, status, early, redirect, chunked };

async function answer(request, response) {
  const [path, ...query] = request.url.split('?');
  const [, name, code] = path.split('/');
  const handler = handlers[name];
  if (handler === undefined) {
    response.writeHead(404).end();
    return;
  }
  try {
    await handler(request, response, { path, query: query.join('?'), code: Number(code) });
  } catch {
    // The client went away in the middle of its body: nobody is left to answer.
    response.destroy();
  }
}

const [plainFd, tlsFd, pemPath] = process.argv.slice(2);
const pem = readFileSync(pemPath);
http.createServer(answer).listen({ fd: Number(plainFd) });
https.createServer({ key: pem, cert: pem }, answer).listen({ fd: Number(tlsFd) });
