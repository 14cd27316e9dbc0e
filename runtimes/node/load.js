// SPDX-License-Identifier: Apache-2.0
'use strict';
// Runs a function's code and finds its handler. Source text is compiled as CommonJS under the name of
// a file that does not exist; ES module syntax is written to a .mjs file and imported. Archives are
// unpacked first.

const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');
const { Module } = require('node:module');
const { pathToFileURL } = require('node:url');

const DEFAULT_FILES = ['index.js', 'main.js', 'handler.js', 'index.mjs', 'main.mjs', 'index.cjs', 'main.cjs'];
const EXTENSIONS = ['.js', '.mjs', '.cjs'];
const ENTRIES_MAX = 20000;
const NAME_MAX = 1024;
const SHOWN_MAX = 20;
const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;
// Words that look like a name but cannot stand in an expression.
const RESERVED = /^(await|break|case|catch|class|const|continue|debugger|default|delete|do|else|enum|export|extends|false|finally|for|function|if|implements|import|in|instanceof|interface|let|new|null|package|private|protected|public|return|static|super|switch|this|throw|true|try|typeof|var|void|while|with|yield)$/;
const CAPTURED = Symbol.for('kiln.captured');
const CAPTURED_EXPORT = '__kiln_captured';

// The function cannot be loaded; the text is complete and needs no stack.
class LoadError extends Error {}

// 'src/index.handler' → ['src/index', 'handler'], 'handler' → ['', 'handler']
function splitHandler(handler) {
  const at = handler.lastIndexOf('.');
  const name = handler.slice(at + 1);
  if (name.includes('/')) return [handler, ''];
  return [at < 0 ? '' : handler.slice(0, at).replace(/^\.\//, ''), name];
}

// ---- archives (POSIX.1-2017 pax, ustar) ----

const isArchive = (code) => code.length > 262 && code.latin1Slice(257, 262) === 'ustar';

const cString = (b) => {
  const at = b.indexOf(0);
  return at < 0 ? b : b.subarray(0, at);
};

function octal(field) {
  const text = field.latin1Slice().replace(/[\0 ]+$/, '').replace(/^ +/, '');
  if (text === '') return 0;
  if (!/^[0-7]+$/.test(text)) throw new LoadError('the archive is damaged: a number in a header is not octal');
  return parseInt(text, 8);
}

function checkSum(block) {
  let sum = 8 * 32;
  for (let i = 0; i < 512; i++) if (i < 148 || i >= 156) sum += block[i];
  if (octal(block.subarray(148, 156)) !== sum) {
    throw new LoadError("the archive is damaged: a header's checksum is wrong");
  }
}

function checkedName(raw) {
  const name = raw.toString();
  const parts = name.split('/').filter((p) => p !== '' && p !== '.');
  if (name.startsWith('/') || parts.includes('..')) {
    throw new LoadError(`the archive has an entry that leads out of it: '${name}'`);
  }
  if (raw.length > NAME_MAX || name.includes('\0') || name.includes('\ufffd')) {
    throw new LoadError(`the archive has a bad name: '${name.slice(0, 100)}'`);
  }
  return parts.join('/');
}

// The path of a pax extended header, null where it sets none.
function paxPath(data) {
  let found = null;
  while (data.length > 0) {
    const blank = data.indexOf(32), n = Number(data.latin1Slice(0, Math.max(blank, 0)));
    if (!Number.isInteger(n) || n <= blank + 1 || n > data.length) {
      throw new LoadError('the archive is damaged: bad pax header');
    }
    const record = data.subarray(blank + 1, n - 1), eq = record.indexOf(61);
    const key = record.latin1Slice(0, eq);
    if (key === 'path') found = record.subarray(eq + 1);
    else if (key === 'size' || key.startsWith('GNU.sparse')) {
      throw new LoadError('the archive has an entry of a kind that is not supported (size, sparse)');
    }
    data = data.subarray(n);
  }
  return found;
}

function* entries(code) {
  let count = 0, longName = null;
  for (let at = 0; at + 512 <= code.length;) {
    const block = code.subarray(at, at + 512);
    if (block.every((b) => b === 0)) return;
    checkSum(block);
    const size = octal(block.subarray(124, 136)), kind = block.latin1Slice(156, 157);
    const data = code.subarray(at + 512, at + 512 + size);
    if (data.length !== size) throw new LoadError('the archive is cut off');
    at += 512 + Math.ceil(size / 512) * 512;
    if (++count > ENTRIES_MAX) throw new LoadError(`the archive has more than ${ENTRIES_MAX} entries`);
    if (kind === 'g') continue;
    if (kind === 'x' || kind === 'L') {
      longName = kind === 'x' ? paxPath(data) : cString(data);
      continue;
    }
    const raw = cString(block.subarray(0, 100));
    let prefix = cString(block.subarray(345, 500));
    if (block.latin1Slice(257, 265) === 'ustar  \0') prefix = prefix.subarray(0, 0); // GNU's own use
    const name = checkedName(longName ??
      (prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), raw]) : raw));
    longName = null;
    if (!'0\x0075'.includes(kind)) {
      const what = kind === '1' || kind === '2' ? 'a link' : 'a special file';
      throw new LoadError(`the archive has ${what}, which is not allowed: '${name}'`);
    }
    yield { name, directory: kind === '5', mode: octal(block.subarray(100, 108)), data };
  }
}

function unpack(code, dir) {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = fs.constants;
  fs.mkdirSync(dir, { recursive: true });
  for (const { name, directory, mode, data } of entries(code)) {
    try {
      fs.mkdirSync(path.join(dir, directory ? name : path.dirname(name)), { recursive: true });
      if (directory || name === '') continue;
      const flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;
      const fd = fs.openSync(path.join(dir, name), flags, mode & 0o100 ? 0o755 : 0o644);
      try {
        fs.writeFileSync(fd, data);
      } finally {
        fs.closeSync(fd);
      }
    } catch (e) {
      throw new LoadError(`the archive's '${name}' cannot be unpacked: ${e.code}`);
    }
  }
}

function findFile(dir, file) {
  const wanted = [];
  if (file !== '') {
    for (const ext of EXTENSIONS) wanted.push(file + ext);
    wanted.push(file, file + '/index.js');
  }
  try {
    const main = JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8')).main;
    if (typeof main === 'string') wanted.push(main, main + '.js', main + '/index.js');
  } catch { /* no package.json, or none that says it */ }
  wanted.push(...DEFAULT_FILES);
  for (const name of wanted) {
    const full = path.join(dir, name);
    if (full.startsWith(dir + '/') && fs.statSync(full, { throwIfNoEntry: false })?.isFile()) return full;
  }
  throw new LoadError(`the archive has no file to load: looked for ${wanted.join(', ')}`);
}

// ---- running ----

const usable = (name) => IDENTIFIER.test(name) && !RESERVED.test(name);

// The names, where they are declared at the top of the code, as an object literal. A trailer to the
// source reads them, so that a handler need not be exported; it stands on a line of its own at the end
// and shifts no other.
function capture(names) {
  const parts = names.filter(usable).map((n) => `${n}: typeof ${n} === 'undefined' ? undefined : ${n}`);
  return `{${parts.join(', ')}}`;
}

const ESM_ERROR = /Cannot use import statement outside a module|Unexpected token 'export'|Cannot use 'import\.meta'|await is only valid in async functions and the top level bodies/;

function runCommonJs(source, filename, names) {
  const m = new Module(filename, null);
  m.filename = filename;
  m.paths = Module._nodeModulePaths(path.dirname(filename));
  Module._cache[filename] = m;
  // arguments[2] is `module`, also where the code has a variable of that name.
  const trailer = `\n;arguments[2][Symbol.for('kiln.captured')] = ${capture(names)};`;
  m._compile(source.replace(/^#!/, '//') + trailer, filename);
  m.loaded = true;
  return { exports: m.exports, captured: m[CAPTURED] ?? {} };
}

async function runEsm(source, filename, names) {
  const file = filename.replace(/(\.kiln)?\.(js|mjs|cjs)$/, '') + '.kiln.mjs';
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, `${source}\n;export const ${CAPTURED_EXPORT} = ${capture(names)};\n`);
  const ns = await import(pathToFileURL(file).href);
  return { exports: ns, captured: ns[CAPTURED_EXPORT] ?? {} };
}

function isEsmPackage(filename, dir) {
  for (let at = path.dirname(filename); at.startsWith(dir); at = path.dirname(at)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(at, 'package.json'), 'utf8')).type === 'module';
    } catch (e) {
      if (e.code !== 'ENOENT') return false;
    }
  }
  return false;
}

const MAYBE_ESM = /^\s*(import|export)\b|\bimport\s*\.\s*meta\b|\bawait\b/m;

// Whether the text is an ES module by its syntax. Compiled only where a look at it leaves a doubt, and
// not by Module._compile(): newer Nodes run what looks like a module as one, trailer and all.
function isEsmSource(source, filename) {
  if (!MAYBE_ESM.test(source)) return false;
  try {
    vm.compileFunction(source, ['exports', 'require', 'module', '__filename', '__dirname'], { filename });
    return false;
  } catch (e) {
    return e instanceof SyntaxError && ESM_ERROR.test(e.message);
  }
}

async function run(source, filename, names, dir) {
  const esm = filename.endsWith('.mjs') ||
    (!filename.endsWith('.cjs') && (isEsmPackage(filename, dir) || isEsmSource(source, filename)));
  return esm ? runEsm(source, filename, names) : runCommonJs(source, filename, names);
}

function callables(exports, captured) {
  const names = new Set();
  for (const from of [exports, exports?.default, captured]) {
    if (from === null || (typeof from !== 'object' && typeof from !== 'function')) continue;
    for (const key of Object.keys(from)) if (typeof from[key] === 'function') names.add(key);
  }
  const list = [...names];
  if (list.length === 0) return 'the code exports no function';
  return `it has ${list.slice(0, SHOWN_MAX).join(', ')}${list.length > SHOWN_MAX ? ', …' : ''}`;
}

function findHandler({ exports, captured }, handler, names, where) {
  const fallback = exports?.default;
  for (const name of names) {
    for (const from of [exports, captured, fallback]) {
      if (from !== null && from !== undefined && Object.hasOwn(Object(from), name) &&
          typeof from[name] === 'function') {
        return from === captured ? from[name] : from[name].bind(from);
      }
    }
  }
  if (typeof exports === 'function') return exports;
  if (typeof fallback === 'function') return fallback;
  const looked = names.map((n) => `'${n}'`).join(' or ');
  throw new LoadError(`handler '${handler}' not found: no function ${looked} in ${where}; ` +
    callables(exports, captured));
}

// The handler of CODE (bytes). Files lie below DIR.
async function load(handler, code, dir) {
  handler = handler.trim();
  const [file, name] = splitHandler(handler);
  const names = [...new Set([name, handler, 'handler'])].filter((n) => n !== '');
  let filename;
  if (isArchive(code)) {
    unpack(code, dir);
    filename = findFile(dir, file);
    code = fs.readFileSync(filename);
  } else {
    const base = /^[\w./-]+$/.test(file) && !file.split('/').includes('..') ? file : 'index';
    filename = path.join(dir, base + '.js');
  }
  const loaded = await run(code.toString().replace(/^\ufeff/, ''), filename, names, dir);
  const found = findHandler(loaded, handler, names, path.relative(dir, filename));
  return found;
}

module.exports = { load, LoadError };
