// How quick a gateway is for aoconnect, beside the servers of wao on the same machine in the same run: POST,
// result and round trip with one client in turn and several at once, and messages a second whose items were
// signed before.
//
//   npm run gateway-speed [-- --messages 400] [--wao-messages 60] [--at 1,4,32] [--only weft,wao,lua] [--json]
//
// The method: one process of the client; each server in a process of its own, on loopback, one after the other; the
// same aos module, the same messages (`c = c + 1 return NUMBER`), each with its result before the client sends
// the next; the first 20 are not counted. `wrong` counts results that were missing or another message's.
// `lua` is the runtime that every node of Weft has, with the same messages. The program is the one in
// WEFT_BIN: figures are of a release build on a machine that does nothing else.

import { spawn } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { person, startGateway } from './lib/gateway.mjs'
import { modules } from './lib/modules.mjs'
import { conversations, opened, signedBefore } from './lib/speed.mjs'

const text = (value) => ({ type: 'string', default: value })
const { values } = parseArgs({
  options: {
    messages: text('400'),
    'wao-messages': text('60'),
    at: text('1,4,32'),
    only: text('wao,weft,lua'),
    json: { type: 'boolean', default: false },
  },
})
const widths = values.at.split(',').map(Number)
const wanted = values.only.split(',')
const [aos] = modules
const WARM_UP = 20
/** What wao may take to come up. */
const WAO_MS = 60_000

/** A node with a gateway, and its own runtime or aos. */
async function weft(isLua) {
  const node = await startGateway()
  const module = isLua ? (await node.weft('module', 'list'))[0].module : (await node.weft('module', 'add', aos.file, '--format', aos.format)).module
  const { url, ready: { address } } = node
  return { mu: url, cu: url, gateway: url, module, scheduler: address, authority: address, stop: node.stop }
}

/** The servers of wao, in a process of their own. */
async function wao() {
  const program = fileURLToPath(new URL('wao-server.mjs', import.meta.url))
  const memory64 = '--experimental-wasm-memory64'
  const child = spawn(process.execPath, [memory64, program], { stdio: ['ignore', 'pipe', 'inherit'] })
  process.on('exit', () => child.kill('SIGKILL'))
  const ports = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`wao did not come up in ${WAO_MS} ms`)), WAO_MS)
    child.on('close', (code) => reject(new Error(`wao ended with ${code}`)))
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (!line.startsWith('READY ')) return
      clearTimeout(late)
      resolve(JSON.parse(line.slice(6)))
    })
  })
  const at = (port) => `http://127.0.0.1:${port}`
  return {
    mu: at(ports.mu),
    cu: at(ports.cu),
    gateway: at(ports.ar),
    // What it has from the start.
    module: 'ISShJH1ij-hPPt9St5UFFr_8Ys3Kj5cyg7zrMGt7H9s',
    scheduler: '_GQ33BkPtZrqxA84vM8Zk-N2aO0toNNu_C-l-rawrBA',
    authority: 'eNaLJLsMiWCSWvQKNbk_YT-9ydeWl9lrWwXxLVp9kcg',
    stop: () => child.kill('SIGKILL'),
  }
}

const targets = {
  wao: { name: 'wao, aos', start: wao, count: Number(values['wao-messages']) },
  weft: { name: 'weft, aos', start: () => weft(false), count: Number(values.messages) },
  lua: { name: 'weft, Lua', start: () => weft(true), count: Number(values.messages) },
}
const ms = ({ p50, p99 }) => `${p50.toFixed(1)}/${p99.toFixed(1)}`
const rows = []
const { jwk } = person()
const say = (line) => values.json || console.log(line)

say(`Node ${process.version}, ${cpus().length} cores, load ${loadavg()[0].toFixed(1)}\n`)
say('| server | at once | messages | messages/s | POST p50/p99 ms | result p50/p99 ms | round trip p50/p99 ms | signed before: messages/s | round trip p50/p99 ms | wrong |')
say('|---|---|---|---|---|---|---|---|---|---|')
for (const { name, start, count } of wanted.map((key) => targets[key])) {
  const target = await start()
  const client = await opened(target, jwk)
  await conversations(client, 1, WARM_UP)
  for (const width of widths) {
    const talk = await conversations(client, width, count)
    const signed = await signedBefore(client, width, count)
    rows.push({ name, width, count, talk, signed })
    const wrong = talk.wrong + signed.wrong
    say(`| ${name} | ${width} | ${count} | ${talk.rate.toFixed(1)} | ${ms(talk.post)} | ${ms(talk.result)} | ${ms(talk.trip)} | ${signed.rate.toFixed(1)} | ${ms(signed.trip)} | ${wrong} |`)
  }
  await target.stop()
}

/** How many times as quick one server is as another. */
function compare(name, other) {
  for (const width of widths) {
    const [mine, theirs] = [name, other].map((name) => rows.find((row) => row.name === name && row.width === width))
    if (mine && theirs) {
      const times = (of) => (of(mine) / of(theirs)).toFixed(1)
      say(`${name} beside ${other}, ${width} at once: ${times((row) => row.talk.rate)} times the messages, ${times((row) => row.signed.rate)} times with items signed before`)
    }
  }
}
say('')
compare(targets.weft.name, targets.wao.name)
compare(targets.lua.name, targets.wao.name)
if (values.json) console.log(JSON.stringify(rows))
process.exit(rows.some(({ name, talk, signed }) => name !== targets.wao.name && talk.wrong + signed.wrong > 0) ? 1 : 0)
