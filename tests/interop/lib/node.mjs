// A running node of Weft, for tests that talk to it from outside.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { environment, run, weftBinary } from './run.mjs'

/** What a node may take to come up, and to end. */
const waitMs = 60_000

/** Waits for a promise, no longer than a node may take. */
async function inTime(what, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`weft up did not ${what} in ${waitMs} ms`)), waitMs)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** Starts `weft up` in a folder, with more flags: `{ ready, weft, stop }`. */
export async function startNode(folder, flags) {
  const env = { ...environment, WEFT_DATA_DIR: folder }
  const child = spawn(weftBinary, ['up', '--json', '--log', 'warn', ...flags], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise((resolve) => child.on('close', resolve))
  process.on('exit', () => child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout })
  const line = new Promise((resolve) => lines.once('line', resolve))
  const first = await inTime('come up', Promise.race([line, ended]))
  if (typeof first !== 'string') throw new Error(`weft up ended with ${first}`)
  const weft = async (...args) => {
    const { code, stdout, stderr } = await run(weftBinary, [...args, '--json'], { env })
    if (code !== 0) throw new Error(`weft ${args[0]} ended with ${code}: ${stderr}`)
    return JSON.parse(stdout.toString())
  }
  const stop = async () => {
    await weft('stop')
    return inTime('end', ended)
  }
  return { ready: JSON.parse(first), weft, stop }
}
