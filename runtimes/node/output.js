// SPDX-License-Identifier: Apache-2.0
'use strict';
// console.* and process.stdout/stderr become LOG frames: console.debug debug, log and info info, warn
// warn, error and trace error; text written to process.stdout is info, to process.stderr error. Lines
// are held and leave with the result of the call; a line waits at most HOLD_MS while the code runs
// (looked at when the next one is written, and by a timer where the code waits).

const { Writable } = require('node:stream');
const util = require('node:util');
const frames = require('./frames.js');

const DEBUG = 0, INFO = 1, WARN = 2, ERROR = 3;
const HOLD_MS = 50;
const HELD_MAX = 32 << 10;
const LINE_MAX = 16 << 10;

let indent = '';
let heldSince = 0;
let timer = null;

function onTimer() {
  timer = null;
  heldSince = 0;
  frames.flush();
}

function held() {
  const now = performance.now();
  if (frames.held() >= HELD_MAX || (heldSince !== 0 && now - heldSince > HOLD_MS)) {
    heldSince = 0;
    frames.flush(true);
    return;
  }
  if (heldSince === 0) heldSince = now;
  if (timer === null && frames.channel.seq !== -1) {
    timer = setTimeout(onTimer, HOLD_MS);
    timer.unref();
  }
}

function line(level, text) {
  frames.log(level, text);
  held();
}

function lines(level, text) {
  if (!text.includes('\n')) return line(level, text);
  for (const one of text.split('\n')) line(level, one);
}

// The unfinished line of each stream.
const partial = { 1: '', 2: '' };

function write(fd, text) {
  const level = fd === 2 ? ERROR : INFO;
  text = partial[fd] + text;
  let from = 0;
  for (let at; (at = text.indexOf('\n', from)) >= 0; from = at + 1) line(level, text.slice(from, at));
  partial[fd] = text.slice(from);
  if (partial[fd].length > LINE_MAX) {
    line(level, partial[fd]);
    partial[fd] = '';
  }
}

function endLines() {
  for (const fd of [1, 2]) {
    if (partial[fd] === '') continue;
    line(fd === 2 ? ERROR : INFO, partial[fd]);
    partial[fd] = '';
  }
}

function stream(fd) {
  const s = new Writable({ decodeStrings: false, write: (chunk, encoding, done) => done() });
  s.write = (chunk, encoding, done) => {
    if (typeof encoding === 'function') [encoding, done] = [undefined, encoding];
    write(fd, typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString());
    if (typeof done === 'function') process.nextTick(done);
    return true;
  };
  s.end = (chunk, ...rest) => {
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') s.write(chunk, ...rest);
    return s;
  };
  s.fd = fd;
  s.isTTY = false;
  s._type = 'pipe';
  return s;
}

function install() {
  const streams = { stdout: stream(1), stderr: stream(2) };
  for (const name of ['stdout', 'stderr']) {
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => streams[name] });
  }
  const at = (level) => (...args) => {
    const text = util.format(...args);
    lines(level, indent === '' ? text : indent + text.replaceAll('\n', '\n' + indent));
  };
  Object.assign(console, {
    log: at(INFO), info: at(INFO), debug: at(DEBUG), warn: at(WARN), error: at(ERROR),
    trace(...args) {
      const e = { name: 'Trace', message: util.format(...args) };
      Error.captureStackTrace(e, console.trace);
      frames.log(ERROR, e.stack);
      held();
    },
    group(...args) {
      if (args.length > 0) console.log(...args);
      indent += '  ';
    },
    groupCollapsed: (...args) => console.group(...args),
    groupEnd() {
      indent = indent.slice(2);
    },
  });
}

module.exports = {
  DEBUG, INFO, WARN, ERROR, install, endLines,
  block(level, text) {
    frames.log(level, text);
  },
  endCall() {
    endLines();
    indent = '';
  },
  flushed() {
    heldSince = 0;
  },
};
