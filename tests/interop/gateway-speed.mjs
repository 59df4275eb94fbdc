// How quick a gateway is for aoconnect: POST, result and round trip, with one client in turn and several at
// once; and how many messages a second it takes and evaluates whose items were signed before.
//
//   npm run gateway-speed [-- --messages 100] [--at 1,4,32]
//   npm run gateway-speed -- --mu URL --cu URL --gateway URL --module ID --scheduler ADDRESS
//
// For BENCHMARKS.md. Without addresses it starts a node of its own, of the program in WEFT_BIN; with them it
// drives whatever listens there, wao from npm for one, with the same messages of the same client.

import { createRequire } from 'node:module'
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { person, startGateway } from './lib/gateway.mjs'
import { modules } from './lib/modules.mjs'

const require = createRequire(import.meta.url)
const bundles = require('@dha-team/arbundles')

const text = (value) => ({ type: 'string', default: value })
const { values } = parseArgs({
  options: {
    messages: text('100'),
    at: text('1,4,32'),
    ...Object.fromEntries(['mu', 'cu', 'gateway', 'module', 'scheduler'].map((name) => [name, { type: 'string' }])),
  },
})
const count = Number(values.messages)
const [aos] = modules

/** The addresses to drive, and what ends them. */
async function target() {
  if (values.mu) return { ...values, stop: () => {} }
  const node = await startGateway()
  const { module } = await node.weft('module', 'add', aos.file, '--format', aos.format)
  const { url } = node
  return { mu: url, cu: url, gateway: url, module, scheduler: node.ready.address, stop: node.stop }
}

/** Runs this for every number, so many at once. */
async function spread(width, total, job) {
  let next = 0
  const worker = async () => {
    while (next < total) await job(next++)
  }
  const began = performance.now()
  await Promise.all(Array.from({ length: width }, worker))
  return (total * 1000) / (performance.now() - began)
}

const quantile = (times, part) => times.toSorted((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * part))]
const show = (times) => `${quantile(times, 0.5).toFixed(1)}/${quantile(times, 0.99).toFixed(1)}`
const evaluate = [{ name: 'Action', value: 'Eval' }]

/** Every result must be the one of its message. */
function check(result, at) {
  const data = result.Output?.data?.output ?? result.Output?.data
  if (String(data) !== String(at)) throw new Error(`message ${at} came to ${JSON.stringify(result).slice(0, 300)}`)
}

const { mu, cu, gateway, module, scheduler, stop } = await target()
const { connect, createDataItemSigner } = await import('aoconnect-98')
const ao = connect({ MODE: 'legacy', GATEWAY_URL: gateway, MU_URL: mu, CU_URL: cu })
const { jwk } = person()
const signer = createDataItemSigner(jwk)
const process = await ao.spawn({ module, scheduler, signer, tags: [{ name: 'Authority', value: scheduler }] })
const send = (data) => ao.message({ process, signer, tags: evaluate, data })
for (let at = 0; at < 10; at += 1) check(await ao.result({ process, message: await send(`c = ${at} return ${at}`) }), at)

console.log('| clients | messages/s | POST p50/p99 ms | result p50/p99 ms | round trip p50/p99 ms |')
console.log('|---|---|---|---|---|')
for (const width of values.at.split(',').map(Number)) {
  const [posts, results, trips] = [[], [], []]
  const rate = await spread(width, count, async (at) => {
    const began = performance.now()
    const message = await send(`c = c + 1 return ${at}`)
    const posted = performance.now()
    check(await ao.result({ process, message }), at)
    const done = performance.now()
    posts.push(posted - began)
    results.push(done - posted)
    trips.push(done - began)
  })
  console.log(`| ${width} | ${rate.toFixed(1)} | ${show(posts)} | ${show(results)} | ${show(trips)} |`)
}

// Without the client's own signing: the same item again and again, but for its words.
const author = new bundles.ArweaveSigner(jwk)
const tags = [...evaluate, { name: 'Data-Protocol', value: 'ao' }, { name: 'Type', value: 'Message' }, { name: 'Variant', value: 'ao.TN.1' }]
const items = []
for (let at = 0; at < count; at += 1) {
  const item = bundles.createData(`c = c + 1 return ${at}`, author, { tags, target: process })
  await item.sign(author)
  items.push({ id: item.id, raw: item.getRaw() })
}
const headers = { 'content-type': 'application/octet-stream', accept: 'application/json' }
for (const width of values.at.split(',').map(Number)) {
  const times = []
  const part = Math.floor(count / values.at.split(',').length)
  const rate = await spread(width, part, async () => {
    const { id, raw } = items.pop()
    const began = performance.now()
    const posted = await fetch(mu, { method: 'POST', headers, body: raw })
    if (!posted.ok) throw new Error(`${posted.status}: ${await posted.text()}`)
    const result = await fetch(`${cu}/result/${id}?process-id=${process}`).then((answer) => answer.json())
    if (result.Error !== undefined || result.Output === undefined) throw new Error(JSON.stringify(result).slice(0, 300))
    times.push(performance.now() - began)
  })
  console.log(`signed before, ${width} at once: ${rate.toFixed(1)} messages/s, round trip p50/p99 ${show(times)} ms`)
}
await stop()
