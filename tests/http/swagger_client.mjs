// SPDX-License-Identifier: Apache-2.0
// Calls operations of an OpenAPI or Swagger document with npm's swagger-client, which knows of the
// server only what the document says.
//
//   swagger_client.mjs DOCUMENT URL     one call a line on stdin, one answer a line on stdout
//
// A call: {path, method, parameters, body, files: {field: {name, text}}}. An answer: {status,
// headers, text, url}, or {failed: message} where there was none.

import buffer from 'node:buffer';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import readline from 'node:readline';

const require = createRequire(new URL('../../tools/npm/test/', import.meta.url));
const found = require('swagger-client');
const SwaggerClient = found.default || found;
const yaml = require('js-yaml');

globalThis.File ??= buffer.File; // Node.js 18 has it here only

const [document, url] = process.argv.slice(2);
const spec = yaml.load(fs.readFileSync(document, 'utf8'));
const base = new URL(url);
// The one thing that a user changes.
if (spec.swagger) spec.host = base.host;
else spec.servers = [{ url }];

const { spec: resolved, errors } = await SwaggerClient.resolve({ spec });
if (errors.length) throw new Error(JSON.stringify(errors));

function withFiles(call) {
  if (!call.files) return call.body;
  const body = { ...call.body };
  for (const [field, { name, text }] of Object.entries(call.files))
    body[field] = new File([Buffer.from(text, 'base64')], name);
  return body;
}

async function answer(call) {
  const request = {
    spec: resolved, pathName: call.path, method: call.method, scheme: 'http',
    parameters: call.parameters || {},
  };
  if (spec.swagger) {
    if (call.body !== undefined) request.parameters.body = call.body;
  } else if (call.body !== undefined || call.files) {
    request.requestBody = withFiles(call);
    request.requestContentType = call.files ? 'multipart/form-data' : 'application/json';
  }
  let response;
  try {
    response = await SwaggerClient.execute(request);
  } catch (e) {
    if (!e.response) return { failed: e.message };
    response = e.response;
  }
  const { status, headers, text } = response;
  return { status, headers, text: text ?? '', url: response.url };
}

const lines = readline.createInterface({ input: process.stdin });
process.stdout.write('ready\n');
for await (const line of lines) {
  const got = await answer(JSON.parse(line)).catch((e) => ({ failed: e.stack }));
  process.stdout.write(`${JSON.stringify(got)}\n`);
}
