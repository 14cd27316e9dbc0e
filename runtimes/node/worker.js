// SPDX-License-Identifier: Apache-2.0
'use strict';
// The generic Node process: node worker.js APP_DIR, with its channel as descriptor 3. Warms its own
// path, says HELLO, takes one LOAD, then CALLs in order, one at a time.
//
// Answers of calls that were queued ahead leave together: at the end of what one read brought, when
// code waits, and before the next call where the first held answer is older than HOLD_MS. An answer
// can so wait behind the one call that follows it; the server queues ahead only where calls are short.

const fs = require('node:fs');
const net = require('node:net');
const util = require('node:util');
const frames = require('./frames.js');
const output = require('./output.js');
const result = require('./result.js');
const { load, LoadError } = require('./load.js');

const EXIT_PROTOCOL = 70;
const LOAD_CHECK = 1;
const HEADERS_MAX = 256;
const HOLD_MS = 0.3;
const READ_SIZE = 64 << 10;
const WARM_CALLS = 2000;
const FAILED_TEXT_MAX = 16 << 10;

const appDir = process.argv[2] ?? '/tmp/app';
const fn = { name: '', version: '', workspace: '', handler: null, style: 2 };
const input = new frames.Gatherer();
let plain = false; // WIRE_PLAIN of the call that runs
let busy = false; // a call waits for its promise or callback, or LOAD for an import
let loaded = false;
let heldSince = 0;

// ---- what a handler is given ----

// Looks like a plain object in every way but one: `rawBody`, which is not enumerable.
class Event {
  #raw;
  constructor(body, headers, method, path, query, raw) {
    this.body = body;
    this.headers = headers;
    this.method = method;
    this.path = path;
    this.query = query;
    this.#raw = raw;
  }
  get rawBody() {
    return this.#raw;
  }
}
Object.defineProperty(Event.prototype, 'constructor', { value: Object, enumerable: false });

class Context {
  #deadline;
  constructor(id, deadlineMs) {
    this.functionName = this.function_name = fn.name;
    this.functionVersion = this.function_version = fn.version;
    this.workspaceId = this.workspace_id = fn.workspace;
    this.invocationId = this.invocation_id = this.awsRequestId = id;
    this.#deadline = performance.now() + deadlineMs;
  }
  get deadline() {
    return Date.now() + (this.#deadline - performance.now());
  }
  getRemainingTimeInMillis() {
    return Math.max(0, Math.floor(this.#deadline - performance.now()));
  }
  get_remaining_time_in_millis() {
    return this.getRemainingTimeInMillis();
  }
  get log() {
    return console;
  }
  get logger() {
    return console;
  }
}

// Query: an array where a name repeats. Headers: one text, joined by ', ' (RFC 9110 section 5.3),
// cookies by '; ' (RFC 6265 section 5.4).
function readPairs(r, headers) {
  const n = r.u32(), o = {};
  if (n > HEADERS_MAX) throw new frames.Malformed();
  for (let i = 0; i < n; i++) {
    const name = r.string(), value = r.string();
    if (name === '__proto__') {
      Object.defineProperty(o, name, { value, enumerable: true, configurable: true, writable: true });
    } else if (!Object.hasOwn(o, name)) o[name] = value;
    else if (headers) o[name] += (name === 'cookie' ? '; ' : ', ') + value;
    else if (Array.isArray(o[name])) o[name].push(value);
    else o[name] = [o[name], value];
  }
  return o;
}

const EMPTY = Buffer.alloc(0);

// JSON that does not parse falls back to text, text that is not UTF-8 to bytes.
function bodyValue(kind, raw) {
  if (kind === result.NONE || (kind === result.JSON && raw.length === 0)) return null;
  if (kind === result.BYTES) return raw;
  const text = raw.utf8Slice(0, raw.length);
  if (text.includes('\ufffd') && !frames.utf8(raw)) return raw;
  if (kind !== result.JSON) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// ---- a call ----

// The stack without the frames of this worker and of Node itself.
function describe(e) {
  if (!util.types.isNativeError(e)) return `Uncaught ${util.inspect(e)}`;
  const text = util.inspect(e);
  return text.split('\n')
    .filter((l) => !/^\s+at .*(\/node_modules\/\.kiln|node:internal\/)/.test(l) && !(/^\s+at /.test(l) && l.includes(__dirname + '/')))
    .join('\n');
}

function fail(seq, e) {
  let type = 'Error', message = '';
  try {
    type = util.types.isNativeError(e) || typeof e?.name === 'string'
      ? String(e.name || e.constructor?.name || 'Error') : typeof e;
    message = util.types.isNativeError(e) || typeof e?.message === 'string'
      ? String(e.message) : util.inspect(e);
    output.block(output.ERROR, describe(e));
  } catch { /* an error that throws when looked at: its type is what there is to tell */ }
  output.endCall();
  frames.frame(frames.FAILED, seq, type, message.slice(0, FAILED_TEXT_MAX));
}

function succeed(seq, value) {
  output.endCall();
  try {
    result.send(seq, value, plain);
  } catch (e) {
    fail(seq, e);
  }
}

// An answer that did not come at once: the next calls wait in `input`.
function settle(seq, answer, value) {
  answer(seq, value);
  frames.channel.seq = 0;
  busy = false;
  pump();
}

function callback(seq) {
  let used = false;
  return (error, value) => {
    if (used) return;
    used = true;
    queueMicrotask(() => (error ? settle(seq, fail, error) : settle(seq, succeed, value)));
  };
}

function handleCall(r, seq) {
  const deadlineMs = r.u32(), flags = r.u8(), kind = flags & ~result.PLAIN;
  const id = r.string(), method = r.string(), path = r.string();
  const query = readPairs(r, false), headers = readPairs(r, true);
  const bytes = r.bytes();
  r.done();
  if (kind > result.BYTES) throw new frames.Malformed();
  const raw = bytes.length === 0 ? EMPTY : Buffer.from(bytes);
  frames.channel.seq = seq;
  plain = (flags & result.PLAIN) !== 0; // one call at a time: it holds until this one is answered
  try {
    const body = bodyValue(kind, raw);
    const event = plain ? body : new Event(body, headers, method, path, query, raw);
    const context = new Context(id, deadlineMs);
    const value = fn.style === 3 ? fn.handler(event, context, callback(seq)) : fn.handler(event, context);
    if (value !== null && typeof value === 'object' && typeof value.then === 'function') {
      busy = true;
      value.then((v) => settle(seq, succeed, v), (e) => settle(seq, fail, e));
      return;
    }
    if (fn.style === 3) {
      busy = true; // the callback answers; what it returned means nothing, as with AWS Lambda
      return;
    }
    succeed(seq, value);
  } catch (e) {
    fail(seq, e);
  }
  frames.channel.seq = 0;
}

// ---- loading ----

function setEnvironment(r) {
  const keep = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'TZ'];
  for (const name of Object.keys(process.env)) if (!keep.includes(name)) delete process.env[name];
  for (let n = r.u32(); n > 0; n--) {
    const name = r.string(), value = r.string();
    if (name === '' || name.includes('=') || name.includes('\0') || value.includes('\0')) {
      throw new LoadError(`environment variable '${name}' cannot be set: bad name or NUL`);
    }
    process.env[name] = value;
  }
}

function loadFailure(e) {
  if (e instanceof LoadError) return e.message;
  try {
    // The stack of a SyntaxError begins with the place and the line itself.
    return util.types.isNativeError(e) && e.stack ? describe(e) : util.inspect(e);
  } catch {
    return 'the code threw what cannot be described';
  }
}

async function handleLoad(r) {
  const flags = r.u8();
  fn.name = r.string();
  fn.version = r.string();
  fn.workspace = r.string();
  const handler = r.string();
  let status = 1;
  try {
    setEnvironment(r);
    const code = Buffer.from(r.bytes());
    r.done();
    fn.handler = await load(handler, code, appDir);
    fn.style = fn.handler.length >= 3 ? 3 : 2;
    output.endCall();
    frames.frame(frames.READY, 0);
    status = 0;
  } catch (e) {
    if (e instanceof frames.Malformed) throw e;
    output.endCall();
    frames.frame(frames.LOAD_FAILED, 0, loadFailure(e));
  }
  if (status !== 0 || flags & LOAD_CHECK) exit(status);
  busy = false;
  pump();
}

// ---- the loop ----

const reallyExit = process.reallyExit.bind(process);

function exit(status) {
  output.endLines();
  frames.flushNow();
  reallyExit(status);
}

function malformed(e) {
  if (!(e instanceof frames.Malformed)) throw e;
  exit(EXIT_PROTOCOL);
}

function take(r) {
  if (loaded) {
    if (input.type !== frames.CALL) throw new frames.Malformed();
    handleCall(r, input.seq);
  } else {
    if (input.type !== frames.LOAD) throw new frames.Malformed();
    loaded = busy = true;
    handleLoad(r).catch(malformed);
  }
}

// Takes frames until none is whole or one waits for its answer; then what is held leaves.
function pump() {
  let r, n = 0;
  try {
    while (!busy && (r = input.next()) !== null) {
      if (n++ > 0) {
        const now = performance.now();
        if (heldSince === 0) heldSince = now;
        else if (now - heldSince > HOLD_MS) flush();
      }
      take(r);
    }
    if (!input.owned) input.keep(0);
  } catch (e) {
    malformed(e);
  }
  flush();
}

function flush() {
  heldSince = 0;
  output.flushed();
  frames.flush();
}

function onData(n, buffer) {
  try {
    input.push(buffer.subarray(0, n));
  } catch (e) {
    malformed(e);
  }
  if (!busy) pump();
  else if (!input.owned) input.keep(0);
  return true;
}

// An error that no call can be blamed for by its promise: it may still be the running call's.
function onUncaught(e) {
  frames.channel.last = true;
  if (frames.channel.seq !== 0) fail(frames.channel.seq, e);
  else output.block(output.ERROR, describe(e));
  exit(1);
}

function open() {
  const socket = new net.Socket({
    fd: frames.channel.fd,
    readable: true,
    writable: true,
    allowHalfOpen: false,
    onread: { buffer: Buffer.allocUnsafeSlow(READ_SIZE), callback: onData },
  });
  socket.on('error', () => exit(0));
  socket.on('close', () => exit(0));
  socket.on('end', () => exit(0));
  frames.channel.socket = socket;
  frames.channel.open = true;
  // Flushed whichever way the code ends the process.
  process.reallyExit = exit;
  process.on('uncaughtException', onUncaught);
}

// Runs the path of a call until it is compiled, with the channel still shut.
async function warm() {
  const s = (t) => {
    const b = Buffer.alloc(4 + Buffer.byteLength(t));
    b.writeUInt32LE(b.length - 4);
    b.write(t, 4);
    return b;
  };
  const n = (v) => {
    const b = Buffer.alloc(4);
    b.writeUInt32LE(v);
    return b;
  };
  const payload = Buffer.concat([
    n(1000), Buffer.from([result.JSON]), s('inv-0'), s('POST'), s('/invoke'), n(1), s('q'), s('1'),
    n(2), s('content-type'), s('application/json'), s('user-agent'), s('a longer text than twenty-four'),
    s('{"name":"kiln","n":[1,2.5,null,true]}'),
  ]);
  const head = Buffer.concat([n(payload.length), Buffer.from([frames.CALL, 0, 0, 0]), n(1)]);
  const bytes = Buffer.concat([head, payload]);
  const code = Buffer.from("const h = (e) => ({hello: e.body.name}); exports.handler = h;" +
    "exports.response = (e) => ({statusCode: 200, headers: {a: 'b'}, body: e.method});");
  loaded = true;
  for (const name of ['handler', 'response']) {
    fn.handler = await load(`kiln-warm.${name}`, code, appDir);
    for (let i = 0; i < WARM_CALLS; i++) {
      input.push(bytes);
      take(input.next());
      frames.discard();
    }
  }
  delete require('node:module')._cache[`${appDir}/kiln-warm.js`];
  loaded = busy = false;
  fn.handler = null;
  frames.channel.seq = 0;
}

async function main() {
  output.install();
  await warm();
  open();
  frames.frame(frames.HELLO, 0, `Node.js ${process.version.slice(1)}`);
  frames.flush();
}

main().catch((e) => {
  fs.writeSync(2, `kiln: the worker cannot start: ${e.stack}\n`);
  reallyExit(1);
});
