// arlocal on loopback, installed when it is first needed: three minutes, of which a compiler of SQLite takes two.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run, temporaryFolder } from './run.mjs'

const folder = fileURLToPath(new URL('../arlocal', import.meta.url))
const program = join(folder, 'node_modules/arlocal/bin/index.js')
const waitMs = 60_000

async function npm(...args) {
  const { code, stderr } = await run('npm', ['--prefix', folder, ...args], { env: { npm_config_nodedir: '/usr' } })
  if (code !== 0) throw new Error(`npm ${args[0]} ended with ${code}: ${stderr.toString().slice(-2000)}`)
}

/** Installs the pinned packages. Nothing of them runs but the build of SQLite. */
async function install() {
  if (existsSync(join(folder, 'node_modules/sqlite3/build/Release/node_sqlite3.node'))) return
  await npm('ci', '--ignore-scripts', '--no-audit', '--no-fund')
  await npm('rebuild', 'sqlite3')
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

/** Starts one, with more arguments: `{ url, port, network, get, mine, stop }`. */
export async function startArlocal(...extra) {
  await install()
  const port = await freePort()
  // The folder of its database is joined to the current one, which is removed with all that it writes there.
  const cwd = temporaryFolder()
  const args = ['-r', join(folder, 'loopback.cjs'), program, String(port), '--hidelogs', '--dbpath', './db', ...extra]
  const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = new Promise((resolve) => child.on('close', resolve))
  process.on('exit', () => child.kill('SIGKILL'))
  const url = `http://127.0.0.1:${port}`
  const get = async (path) => {
    // It closes a connection that was quiet for some seconds, and a test that makes a wallet is.
    const response = await fetch(`${url}/${path}`).catch(() => fetch(`${url}/${path}`))
    return { status: response.status, text: await response.text() }
  }
  const deadline = Date.now() + waitMs
  let network
  for (;;) {
    const answer = await get('info').catch(() => null)
    if (answer?.status === 200) {
      network = JSON.parse(answer.text).network
      break
    }
    if (Date.now() > deadline) throw new Error('arlocal did not come up')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  /** Makes blocks. A background task of its own gets in the way of one now and then. */
  const mine = async (blocks = 1, path = 'mine') => {
    for (let tries = 0; tries < 20; tries += 1) {
      const { status } = await get(blocks > 1 ? `${path}/${blocks}` : path)
      if (status === 200) return
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
    throw new Error(`arlocal makes no block at /${path}`)
  }
  const stop = () => {
    child.kill('SIGTERM')
    return ended
  }
  return { url, port, network, get, mine, stop }
}
