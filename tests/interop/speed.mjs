// How many messages a second: the reference loader as shipped, with memory carried in and out as
// a compute unit does, beside `weft eval`, in one run, in turns, on the same messages.
//
//   npm run speed [-- --messages 200] [--runs 3]
//
// For BENCHMARKS.md. Name a release build in WEFT_BIN. Two sequences per module: `reply`, where a
// handler answers every message, and `eval`, where the owner evaluates `return 1 + k`. Each in two
// sizes: `full` has all ids, signatures and tags of a real client's message, `small` none of them,
// as in `cargo bench`.

import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { modules } from './lib/modules.mjs'
import { reference, temporaryFolder, weft, weftBinary } from './lib/run.mjs'
import { env, message, owner, process as processId, processTags } from './sequence/actors.mjs'

const { values } = parseArgs({
  options: { messages: { type: 'string', default: '200' }, runs: { type: 'string', default: '3' } },
})
const count = Number(values.messages)
const runs = Number(values.runs)
const warmUp = 10

const handler = `Handlers.add("inc", "Inc", function(msg)
  Count = (Count or 0) + 1
  msg.reply({ Data = tostring(Count) })
end)`
const head = [
  { name: 'boot', Id: processId, from: owner, rawTags: processTags },
  { name: 'handler', from: owner, data: handler, tags: { Action: 'Eval' } },
]
const bodies = {
  reply: () => ({ name: 'inc', tags: { Action: 'Inc' } }),
  eval: (at) => ({ name: 'eval', from: owner, data: `return 1 + ${at}`, tags: { Action: 'Eval' } }),
}

/** A message of the same meaning with nothing that a handler does not need. */
function small(slot, entry) {
  const { Tags, ...rest } = message(slot, entry)
  // aos names its module in what it sends.
  const kept = Tags.filter(({ name }) => ['Type', 'Action', 'Module'].includes(name))
  return { ...rest, Id: slot === 0 ? rest.Id : String(slot), Signature: 's', 'Hash-Chain': 'h', Tags: kept }
}

const { Process, Module } = env
const sizes = {
  full: { message, env },
  small: { message: small, env: { Process: { ...Process, Tags: [] }, Module: { ...Module, Tags: [] } } },
}

const folder = temporaryFolder()
for (const [size, { env }] of Object.entries(sizes)) writeFileSync(join(folder, `${size}.json`), JSON.stringify(env))

function record(size, kind, messages) {
  const entries = [...head, ...Array.from({ length: messages }, (_, at) => bodies[kind](at))]
  const path = join(folder, `${size}-${kind}-${messages}.jsonl`)
  writeFileSync(path, entries.map((entry, slot) => JSON.stringify(sizes[size].message(slot, entry)) + '\n').join(''))
  return { path, env: join(folder, `${size}.json`) }
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]

/** Milliseconds of the first message, and warm messages a second. */
async function timeReference(module, messages) {
  const out = join(folder, 'times')
  const { code, stderr } = await reference([module.file, module.format, messages.env, messages.path, out, '--speed'])
  if (code !== 0) throw new Error(stderr.toString())
  const times = readFileSync(out, 'utf8').trim().split('\n').map((line) => Number(line) / 1e6)
  return { first: times[0], rate: 1000 / median(times.slice(head.length + warmUp)) }
}

/** The same of `weft eval`, which prints the time of each message. */
async function timeWeft(module, messages) {
  const args = ['eval', '--module', module.file, '--format', module.format, '--env', messages.env]
  const { code, stderr } = await weft([...args, '--stats', '--json', messages.path])
  if (code !== 0) throw new Error(stderr.toString())
  const stats = stderr.toString().trim().split('\n').map((line) => JSON.parse(line))
  const times = stats.filter(({ line }) => line !== undefined).map(({ us }) => us / 1e3)
  return { first: times[0], rate: 1000 / median(times.slice(head.length + warmUp)) }
}

// A native message takes a hundredth of the time: more of them for as steady a figure.
const weftMessages = 20 * count

console.log(`${cpus()[0].model}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`)
console.log(`Node ${process.version}; weft: ${weftBinary}; ${count} messages (weft: ${weftMessages}), ${runs} runs: median (lowest - highest)\n`)
console.log('| module | size | sequence | reference, messages/s | weft eval, messages/s | ratio |\n|---|---|---|---|---|---|')
const shown = (list, digits) => `${median(list).toFixed(digits)} (${Math.min(...list).toFixed(digits)} - ${Math.max(...list).toFixed(digits)})`
const firsts = []
for (const module of modules) {
  for (const [size, kind] of Object.keys(sizes).flatMap((size) => Object.keys(bodies).map((kind) => [size, kind]))) {
    const times = { reference: [], weft: [] }
    for (let at = 0; at < runs; at += 1) {
      times.reference.push(await timeReference(module, record(size, kind, warmUp + count)))
      times.weft.push(await timeWeft(module, record(size, kind, warmUp + weftMessages)))
    }
    const rates = (who) => times[who].map(({ rate }) => rate)
    const first = (who) => shown(times[who].map(({ first }) => first), 0)
    const ratio = median(rates('weft')) / median(rates('reference'))
    console.log(`| ${module.name} | ${size} | ${kind} | ${shown(rates('reference'), 1)} | ${shown(rates('weft'), 0)} | ${ratio.toFixed(0)}x |`)
    firsts.push(`${module.name} ${size} ${kind}: first message, reference ${first('reference')} ms, weft ${first('weft')} ms`)
  }
}
console.log(`\n${firsts.join('\n')}`)
