// Runs a recorded sequence through the reference loader and writes one line per message: the
// JSON exactly as the module returned it, or {"trap":"..."} when the module did not return.
//
//   node [--experimental-wasm-memory64] reference.mjs MODULE FORMAT ENV.json MESSAGES.jsonl OUT
//        [--fresh] [--speed] [--gas] [--data ID=FILE]...
//
// OUT is a file because some formats of the loader let the guest print to standard output.
// Memory is carried as a compute unit carries it: in and out of every message, the previous one
// kept when the message failed, and the instance dropped after a failure. `--fresh` makes a new
// instance for every message, so nothing outside memory is carried (the loader's clock is not
// memory). `--speed` prints the time of each message in nanoseconds instead. `--gas` also writes
// the GasUsed of each message to OUT.gas, or null where the message failed. `--data` lets the guest
// open `/data/ID` through the drive of `wao`.

import { openSync, readFileSync, writeSync } from 'node:fs'
import AoLoader from '@permaweb/ao-loader'
import { discards } from './lib/discards.mjs'
import { drive } from './lib/drive.mjs'

const [module, format, envFile, messagesFile, outFile, ...flags] = process.argv.slice(2)
const fresh = flags.includes('--fresh')
const speed = flags.includes('--speed')
const items = flags.filter((_, at) => flags[at - 1] === '--data')
const options = items.length > 0 ? { format, ...drive(items) } : { format }
const wasm = readFileSync(module)
const env = JSON.parse(readFileSync(envFile, 'utf8'))
const lines = readFileSync(messagesFile, 'utf8').trimEnd().split('\n')
const out = openSync(outFile, 'w')
const gasOut = flags.includes('--gas') ? openSync(`${outFile}.gas`, 'w') : null
const consoleLog = console.log
// The loaders of the first two formats replace the program's own clock.
const nanoseconds = process.hrtime.bigint

// The loader parses the module's text and throws it away; this keeps it.
let raw
const { parse } = JSON
const keepRaw = (text, reviver) => {
  raw = text
  return parse(text, reviver)
}

/** Writes all of a text at once: a sequence that hangs shows where. */
function writeAll(text, file = out) {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
}

let memory = null
let handle = null
for (const line of lines) {
  const message = parse(line)
  if (JSON.stringify(message) !== line) throw new Error(`not as JSON.stringify writes it: ${line.slice(0, 200)}`)
  const began = nanoseconds()
  if (handle === null || fresh) handle = await AoLoader(wasm, { ...options })
  raw = undefined
  let failed = false
  let result
  JSON.parse = keepRaw
  try {
    result = await handle(memory, message, env)
  } catch (error) {
    failed = true
    if (raw === undefined) raw = JSON.stringify({ trap: String(error?.message ?? error) })
  }
  JSON.parse = parse
  console.log = consoleLog
  if (failed || discards(result)) {
    handle = null
  } else {
    memory = result.Memory
  }
  const written = speed ? String(nanoseconds() - began) : raw
  writeAll(`${written}\n`)
  if (gasOut !== null) writeAll(`${failed ? null : result.GasUsed}\n`, gasOut)
}

// A guest that left its program has set the exit code of this one.
process.exitCode = 0
