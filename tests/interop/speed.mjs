// How many messages a second: the reference loader as shipped, with memory carried in and out as
// a compute unit does, beside `weft eval`, in one run, in turns, on the same messages.
//
//   npm run speed [-- --messages 200] [--runs 3]
//
// For BENCHMARKS.md. Name a release build in WEFT_BIN. Two sequences per module: `reply`, where a
// handler answers every message, and `eval`, where the owner evaluates `return 1 + k`.

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

const folder = temporaryFolder()
const envFile = join(folder, 'env.json')
writeFileSync(envFile, JSON.stringify(env))

function record(kind, messages) {
  const entries = [...head, ...Array.from({ length: messages }, (_, at) => bodies[kind](at))]
  const path = join(folder, `${kind}-${messages}.jsonl`)
  writeFileSync(path, entries.map((entry, slot) => JSON.stringify(message(slot, entry)) + '\n').join(''))
  return path
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]

/** Milliseconds of the first message, and warm messages a second. */
async function timeReference(module, messages) {
  const out = join(folder, 'times')
  const { code, stderr } = await reference([module.file, module.format, envFile, messages, out, '--speed'])
  if (code !== 0) throw new Error(stderr.toString())
  const times = readFileSync(out, 'utf8').trim().split('\n').map((line) => Number(line) / 1e6)
  return { first: times[0], rate: 1000 / median(times.slice(head.length + warmUp)) }
}

/** The same of `weft eval`, which prints the time of each message. */
async function timeWeft(module, messages) {
  const args = ['eval', '--module', module.file, '--format', module.format, '--env', envFile]
  const { code, stderr } = await weft([...args, '--stats', '--json', messages])
  if (code !== 0) throw new Error(stderr.toString())
  const stats = stderr.toString().trim().split('\n').map((line) => JSON.parse(line))
  const times = stats.filter(({ line }) => line !== undefined).map(({ us }) => us / 1e3)
  return { first: times[0], rate: 1000 / median(times.slice(head.length + warmUp)) }
}

// A native message takes a hundredth of the time: more of them for as steady a figure.
const weftMessages = 20 * count

console.log(`${cpus()[0].model}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`)
console.log(`Node ${process.version}; weft: ${weftBinary}; ${count} messages (weft: ${weftMessages}), ${runs} runs: median (lowest - highest)\n`)
console.log('| module | sequence | reference, messages/s | weft eval, messages/s | ratio |\n|---|---|---|---|---|')
const shown = (list, digits) => `${median(list).toFixed(digits)} (${Math.min(...list).toFixed(digits)} - ${Math.max(...list).toFixed(digits)})`
const firsts = []
for (const module of modules) {
  for (const kind of Object.keys(bodies)) {
    const times = { reference: [], weft: [] }
    for (let at = 0; at < runs; at += 1) {
      times.reference.push(await timeReference(module, record(kind, warmUp + count)))
      times.weft.push(await timeWeft(module, record(kind, warmUp + weftMessages)))
    }
    const rates = (who) => times[who].map(({ rate }) => rate)
    const first = (who) => shown(times[who].map(({ first }) => first), 0)
    const ratio = median(rates('weft')) / median(rates('reference'))
    console.log(`| ${module.name} | ${kind} | ${shown(rates('reference'), 1)} | ${shown(rates('weft'), 0)} | ${ratio.toFixed(0)}x |`)
    firsts.push(`${module.name} ${kind}: first message, reference ${first('reference')} ms, weft ${first('weft')} ms`)
  }
}
console.log(`\n${firsts.join('\n')}`)
