// Running the programs that are compared: `weft` itself, and the reference loader in a process
// of its own (it replaces the clock and the randomness of the process it lives in).

import { spawn } from 'node:child_process'
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))

/** The program under test: $WEFT_BIN, or the debug build of this clone. */
export const weftBinary = process.env.WEFT_BIN || here('../../../target/debug/weft')

/** What programs that are run here find in their environment: a `WEFT_*` variable is for the tests, or would be a setting. */
export const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('WEFT_')))

/** Runs a program to its end: `{ code, stdout, stderr }`, the outputs as bytes. */
export function run(program, args, { input, env } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: { ...environment, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
    const chunks = { stdout: [], stderr: [] }
    child.stdout.on('data', (chunk) => chunks.stdout.push(chunk))
    child.stderr.on('data', (chunk) => chunks.stderr.push(chunk))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (signal !== null) return reject(new Error(`${program} was ended by ${signal}`))
      resolve({ code, stdout: Buffer.concat(chunks.stdout), stderr: Buffer.concat(chunks.stderr) })
    })
    // A program that refuses its arguments closes its input before it is written.
    child.stdin.on('error', () => {})
    child.stdin.end(input ?? '')
  })
}

/** Runs `weft`. */
export function weft(args, options) {
  try {
    accessSync(weftBinary, constants.X_OK)
  } catch {
    throw new Error(`no program at ${weftBinary}: build it, or name it in WEFT_BIN`)
  }
  return run(weftBinary, args, options)
}

/** Runs a command of `weft` that answers with JSON: `{ code, json, stderr }`. */
export async function weftJson(args) {
  const { code, stdout, stderr } = await weft([...args, '--json'])
  const text = stdout.toString()
  return { code, json: text.trim() === '' ? null : JSON.parse(text), stderr: stderr.toString() }
}

/** Runs reference.mjs, with the switch for 64-bit memory where this Node still has it. */
export async function reference(args) {
  const memory64 = '--experimental-wasm-memory64'
  const { code: unknown } = await run(process.execPath, [memory64, '--eval', ''])
  const flags = unknown === 0 ? [memory64] : []
  // The loader shows guests the time zone of its host.
  return run(process.execPath, [...flags, here('../reference.mjs'), ...args], { env: { TZ: 'UTC' } })
}

/** A folder that is gone when the process ends. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'weft-interop-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}
