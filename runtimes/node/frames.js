// SPDX-License-Identifier: Apache-2.0
'use strict';
// Frames as src/wire/wire.h lays them down: reading them off the socket, writing them into one buffer
// that leaves in one write. Numbers are read byte by byte from the buffer: a call into C++ for each
// (readUInt32LE is one-liner JS, but slices are not) costs more than the whole of a small frame.

const fs = require('node:fs');

const LOAD = 1, CALL = 2;
const HELLO = 16, READY = 17, LOAD_FAILED = 18, RESULT = 19, FAILED = 20, LOG = 21;
const HEADER_LEN = 12;
const FRAME_MAX = 64 << 20;
const LOG_LINE_MAX = 16 << 10;
const KEEP_MAX = 1 << 20; // a larger buffer is given back after use

const FAILED_LAST = 1;

// last: the process ends with the call that fails next.
const channel = { fd: 3, socket: null, open: false, seq: 0, last: false };

// ---- out ----

let out = Buffer.allocUnsafeSlow(64 << 10);
let outLen = 0;
let blocked = null; // bytes that the socket did not take at once, in order

function room(n) {
  if (out.length - outLen >= n) return;
  const bigger = Buffer.allocUnsafeSlow(Math.max(out.length * 2, outLen + n));
  out.copy(bigger, 0, 0, outLen);
  out = bigger;
}

function putU32(at, v) {
  out[at] = v;
  out[at + 1] = v >>> 8;
  out[at + 2] = v >>> 16;
  out[at + 3] = v >>> 24;
}

function begin(type, seq, size) {
  room(HEADER_LEN + size);
  const at = outLen;
  out[at + 4] = type;
  out[at + 5] = type === FAILED && channel.last ? FAILED_LAST : 0;
  out[at + 6] = out[at + 7] = 0;
  putU32(at + 8, seq);
  outLen = at + HEADER_LEN;
  return at;
}

function end(at) {
  const len = outLen - at - HEADER_LEN;
  if (len > FRAME_MAX) {
    outLen = at;
    throw new RangeError('the result is larger than 64 MiB');
  }
  putU32(at, len);
}

// A string of the wire: u32 length and UTF-8.
function putString(s) {
  if (s.length > FRAME_MAX) throw new RangeError('the result is larger than 64 MiB');
  room(4 + s.length * 3);
  const n = out.utf8Write(s, outLen + 4);
  putU32(outLen, n);
  outLen += 4 + n;
}

function putBytes(b) {
  if (b.length > FRAME_MAX) throw new RangeError('the result is larger than 64 MiB');
  room(4 + b.length);
  putU32(outLen, b.length);
  out.set(b, outLen + 4);
  outLen += 4 + b.length;
}

function frame(type, seq, ...strings) {
  const at = begin(type, seq, 0);
  for (const s of strings) putString(s);
  end(at);
}

function log(level, text) {
  if (text.length * 3 > LOG_LINE_MAX) {
    const bytes = Buffer.from(text);
    for (let from = 0; from < bytes.length;) {
      let to = Math.min(from + LOG_LINE_MAX, bytes.length);
      while (to < bytes.length && to > from && (bytes[to] & 0xc0) === 0x80) to--;
      const at = begin(LOG, channel.seq, 5);
      out[outLen++] = level;
      putBytes(bytes.subarray(from, to));
      end(at);
      from = to;
    }
  } else {
    const at = begin(LOG, channel.seq, 5);
    out[outLen++] = level;
    putString(text);
    end(at);
  }
}

// status, wrapped, kind, [[name, value]…], body: a string, bytes, or null
function result(seq, status, wrapped, kind, headers, body) {
  const start = outLen;
  try {
    const at = begin(RESULT, seq, 8);
    out[outLen] = status;
    out[outLen + 1] = status >>> 8;
    out[outLen + 2] = wrapped ? 1 : 0;
    out[outLen + 3] = kind;
    putU32(outLen + 4, headers.length);
    outLen += 8;
    for (let i = 0; i < headers.length; i++) {
      putString(headers[i][0]);
      putString(headers[i][1]);
    }
    if (typeof body === 'string') putString(body);
    else putBytes(body === null ? [] : body);
    end(at);
  } catch (e) {
    outLen = start;
    throw e;
  }
}

const clock = new Int32Array(new SharedArrayBuffer(4)); // never changes: to sleep on

// Writes what is held. What the socket does not take now waits for it to drain, in order. With WAIT
// it is first waited for: code that prints without end, and never lets the event loop run, must not
// heap its lines up here.
function flush(wait = false) {
  if (outLen === 0) return;
  let at = 0;
  const len = outLen;
  outLen = 0;
  if (!channel.open) return;
  for (let tries = wait ? 1000 : 0; blocked === null && at < len;) {
    try {
      at += fs.writeSync(channel.fd, out, at, len - at);
    } catch (e) {
      if (e.code !== 'EAGAIN') return; // the server is gone; the end of the channel tells us
      if (tries-- === 0) break;
      Atomics.wait(clock, 0, 0, 1);
    }
  }
  if (at < len) {
    const rest = Buffer.from(out.subarray(at, len));
    if (blocked !== null) blocked.push(rest);
    else {
      blocked = [rest];
      drain();
    }
  }
  if (out.length > KEEP_MAX) out = Buffer.allocUnsafeSlow(64 << 10);
}

function drain() {
  const parts = blocked;
  blocked = [];
  channel.socket.write(parts.length === 1 ? parts[0] : Buffer.concat(parts), () => {
    if (blocked.length > 0) drain();
    else blocked = null;
  });
}

// As flush(), but everything is gone on return: the process is about to end.
function flushNow() {
  if (!channel.open) return;
  // The socket still holds the front of a frame: bytes past it would tear the stream.
  if (blocked !== null) return;
  const all = Buffer.from(out.subarray(0, outLen));
  outLen = 0;
  for (let at = 0, tries = 0; at < all.length && tries < 1000;) {
    try {
      at += fs.writeSync(channel.fd, all, at, all.length - at);
    } catch (e) {
      if (e.code !== 'EAGAIN') return;
      Atomics.wait(clock, 0, 0, 1); // for the server to read; at most a second in all
      tries++;
    }
  }
}

// ---- in ----

class Malformed extends Error {}

// A cursor over one payload.
class Reader {
  constructor(buf, at, end) {
    this.buf = buf;
    this.at = at;
    this.end = end;
  }
  u8() {
    if (this.at >= this.end) throw new Malformed();
    return this.buf[this.at++];
  }
  u32() {
    const b = this.buf, at = this.at;
    if (at + 4 > this.end) throw new Malformed();
    this.at = at + 4;
    return (b[at] | (b[at + 1] << 8) | (b[at + 2] << 16) | (b[at + 3] << 24)) >>> 0;
  }
  // Length of the string that begins here; `at` then stands on its first byte.
  length() {
    const n = this.u32();
    if (n > this.end - this.at) throw new Malformed();
    return n;
  }
  bytes() {
    const n = this.length();
    this.at += n;
    return this.buf.subarray(this.at - n, this.at);
  }
  string() {
    const n = this.length(), from = this.at;
    this.at += n;
    return text(this.buf, from, from + n);
  }
  done() {
    if (this.at !== this.end) throw new Malformed();
  }
}

const SHORT = 24;

// UTF-8, or Latin-1 where it is not UTF-8. Short ASCII, which is nearly all, is made here.
function text(buf, from, to) {
  const n = to - from;
  if (n === 0) return '';
  let any = 0;
  if (n <= SHORT) {
    let s = '';
    for (let i = from; i < to; i++) {
      const c = buf[i];
      any |= c;
      s += ASCII[c & 127];
    }
    if (any < 128) return s;
  } else {
    for (let i = from; i < to; i++) any |= buf[i];
    if (any < 128) return buf.latin1Slice(from, to);
  }
  const s = buf.utf8Slice(from, to);
  return s.includes('\ufffd') && !utf8(buf.subarray(from, to)) ? buf.latin1Slice(from, to) : s;
}
const ASCII = Array.from({ length: 128 }, (_, i) => String.fromCharCode(i));

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
function utf8(bytes) {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

// Gathers frames from pieces: push() the bytes of a read, then next() until null. What next() gives
// is valid until the next push().
class Gatherer {
  constructor() {
    this.buf = null;
    this.at = 0;
    this.len = 0;
    this.type = 0;
    this.seq = 0;
    this.owned = false;
  }
  // BYTES may be reused by the caller after the frames in it were taken, see keep().
  push(bytes) {
    if (this.at === this.len) {
      this.buf = bytes;
      this.at = 0;
      this.len = bytes.length;
      this.owned = false;
      return;
    }
    this.keep(bytes.length);
    bytes.copy(this.buf, this.len);
    this.len += bytes.length;
  }
  // Moves what is not taken yet into a buffer of our own with EXTRA bytes of room.
  keep(extra) {
    const have = this.len - this.at;
    if (have === 0) {
      this.buf = null;
      this.at = this.len = 0;
      return;
    }
    let want = have + extra;
    if (have >= 4) want = Math.max(want, HEADER_LEN + this.peek());
    if (!this.owned || this.buf.length - this.at < have + extra) {
      const own = Buffer.allocUnsafeSlow(want);
      this.buf.copy(own, 0, this.at, this.len);
      this.buf = own;
      this.len = have;
      this.at = 0;
      this.owned = true;
    }
  }
  peek() {
    const b = this.buf, at = this.at;
    const n = (b[at] | (b[at + 1] << 8) | (b[at + 2] << 16) | (b[at + 3] << 24)) >>> 0;
    if (n > FRAME_MAX) throw new Malformed();
    return n;
  }
  next() {
    if (this.len - this.at < HEADER_LEN) return null;
    const n = this.peek(), b = this.buf, at = this.at;
    if (b[at + 5] | b[at + 6] | b[at + 7]) throw new Malformed();
    if (this.len - at < HEADER_LEN + n) return null;
    this.type = b[at + 4];
    this.seq = (b[at + 8] | (b[at + 9] << 8) | (b[at + 10] << 16) | (b[at + 11] << 24)) >>> 0;
    this.at = at + HEADER_LEN + n;
    return new Reader(b, at + HEADER_LEN, this.at);
  }
}

module.exports = {
  LOAD, CALL, HELLO, READY, LOAD_FAILED, RESULT, FAILED, LOG,
  channel, frame, log, result, flush, flushNow, held: () => outLen, discard: () => { outLen = 0; },
  Malformed, Reader, Gatherer, utf8,
};
