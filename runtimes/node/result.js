// SPDX-License-Identifier: Apache-2.0
'use strict';
// What a handler returned, as a RESULT frame. The rule, the same in every language:
//
// An object is a response (wrapped) when
//   - it has `statusCode`, an HTTP status: an integer from 100 to 599 or its decimal text. Another
//     number there is an error; anything else makes the object plain data;
//   - or it has `status`, such a number, and beside it `body` or `headers`, or nothing at all.
//     {status: 'ok', items: []} and {status: 200, items: []} are plain data.
// Of a response `headers` is an object of name to string, number or boolean, or an array of them (sent
// repeated; null is left out), `multiValueHeaders` adds to it, and `isBase64Encoded: true` makes a
// string body the bytes it stands for. Other keys are ignored.
//
// Body of a response: string TEXT, Buffer, Uint8Array, ArrayBuffer BYTES, null or undefined NONE, else
// JSON. Plain data: the same, but null and undefined are JSON null.

const frames = require('./frames.js');

const NONE = 0, JSON_ = 1, TEXT = 2, BYTES = 3;
const HEADERS_MAX = 256;
const NO_HEADERS = [];

const isObject = (v) => typeof v === 'object' && v !== null;

function statusOf(v) {
  const n = typeof v === 'string' && /^[1-5][0-9][0-9]$/.test(v) ? Number(v) : v;
  return Number.isInteger(n) && n >= 100 && n <= 599 ? n : 0;
}

function responseStatus(v) {
  if (Array.isArray(v) || isBytes(v)) return 0;
  if (v.statusCode !== undefined) {
    const n = statusOf(v.statusCode);
    if (n === 0 && typeof v.statusCode === 'number') {
      throw new RangeError(`statusCode ${v.statusCode} is not between 100 and 599`);
    }
    return n;
  }
  if (v.status === undefined) return 0;
  const n = statusOf(v.status);
  return n !== 0 && ('body' in v || 'headers' in v || Object.keys(v).length === 1) ? n : 0;
}

const isBytes = (v) => v instanceof Uint8Array || v instanceof ArrayBuffer;
const bytesOf = (v) => (v instanceof ArrayBuffer ? new Uint8Array(v) : v);

function addHeader(list, name, value) {
  if (value === null || value === undefined) return;
  if (Array.isArray(value)) {
    for (const one of value) addHeader(list, name, one);
    return;
  }
  if (typeof value === 'object' || typeof value === 'function' || typeof value === 'symbol') {
    throw new TypeError(`header '${name}' is of type ${typeof value}`);
  }
  const text = String(value);
  if (name === '' || /[\r\n\0]/.test(name) || /[\r\n\0]/.test(text)) {
    throw new TypeError(`header '${name.replace(/[\r\n\0]/g, ' ')}' is empty or has a line break`);
  }
  if (list.length >= HEADERS_MAX) throw new RangeError(`more than ${HEADERS_MAX} headers`);
  list.push([name, text]);
}

function headersOf(v) {
  if (!v.headers && !v.multiValueHeaders) return NO_HEADERS;
  const list = [];
  for (const headers of [v.headers, v.multiValueHeaders]) {
    if (headers === null || headers === undefined) continue;
    if (!isObject(headers)) throw new TypeError(`the headers are of type ${typeof headers}`);
    const pairs = typeof headers.entries === 'function' ? headers.entries() : Object.entries(headers);
    for (const [name, value] of pairs) addHeader(list, String(name), value);
  }
  return list;
}

function base64Bytes(text) {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) {
    throw new TypeError('isBase64Encoded is set, but the body is not base64');
  }
  return Buffer.from(text, 'base64');
}

// Where in V the value is that JSON does not have: a BigInt, or what contains itself.
function culprit(v, path, seen) {
  if (typeof v === 'bigint') return `${path} is a BigInt, which JSON does not have`;
  if (!isObject(v)) return null;
  if (seen.has(v)) return `${path} contains itself`;
  seen.add(v);
  for (const key of Object.keys(v)) {
    const found = culprit(v[key], Array.isArray(v) ? `${path}[${key}]` : `${path}.${key}`, seen);
    if (found) return found;
  }
  seen.delete(v);
  return null;
}

function json(v) {
  let text;
  try {
    text = JSON.stringify(v);
  } catch (e) {
    let found = null;
    try {
      found = culprit(v, 'result', new Set());
    } catch { /* too deep, or a getter that throws: the first error says enough */ }
    throw found ? new TypeError(found) : e;
  }
  if (text === undefined) {
    throw new TypeError(`the result is of type ${typeof v}, which JSON does not have`);
  }
  return text;
}

// PLAIN: an object is never a response.
function send(seq, v, plain) {
  if (v === undefined || v === null) return frames.result(seq, 200, false, JSON_, NO_HEADERS, 'null');
  if (typeof v === 'string') return frames.result(seq, 200, false, TEXT, NO_HEADERS, v);
  if (typeof v !== 'object') return frames.result(seq, 200, false, JSON_, NO_HEADERS, json(v));
  const status = plain ? 0 : responseStatus(v);
  if (status === 0) {
    if (isBytes(v)) return frames.result(seq, 200, false, BYTES, NO_HEADERS, bytesOf(v));
    return frames.result(seq, 200, false, JSON_, NO_HEADERS, json(v));
  }
  const headers = headersOf(v), body = v.body;
  if (body === undefined || body === null) frames.result(seq, status, true, NONE, headers, null);
  else if (isBytes(body)) frames.result(seq, status, true, BYTES, headers, bytesOf(body));
  else if (typeof body !== 'string') frames.result(seq, status, true, JSON_, headers, json(body));
  else if (v.isBase64Encoded === true) frames.result(seq, status, true, BYTES, headers, base64Bytes(body));
  else frames.result(seq, status, true, TEXT, headers, body);
}

module.exports = { send, NONE, JSON: JSON_, TEXT, BYTES, PLAIN: 0x80 };
