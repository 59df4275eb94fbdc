// Driving what speaks as the ao units do with one client, and taking times: for gateway-speed.mjs.

import { createRequire } from 'node:module'
import { performance } from 'node:perf_hooks'

const require = createRequire(import.meta.url)
const bundles = require('@dha-team/arbundles')
const evaluate = [{ name: 'Action', value: 'Eval' }]

/** Runs a job for every number, so many at once: how many were done in a second. */
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
const of = (times) => ({ p50: quantile(times, 0.5), p99: quantile(times, 0.99) })

/** Whether a result is the one of its message. */
function isOf(result, at) {
  const data = result.Output?.data?.output ?? result.Output?.data
  return result.Error === undefined && String(data) === String(at)
}

/** A process to send to, and the client with its signer. */
export async function opened({ mu, cu, gateway, module, scheduler, authority }, jwk) {
  const { connect, createDataItemSigner } = await import('aoconnect-98')
  const ao = connect({ MODE: 'legacy', GATEWAY_URL: gateway, MU_URL: mu, CU_URL: cu })
  const signer = createDataItemSigner(jwk)
  const process = await ao.spawn({ module, scheduler, signer, tags: [{ name: 'Authority', value: authority }] })
  const send = (data) => ao.message({ process, signer, tags: evaluate, data })
  return { mu, cu, ao, jwk, process, send }
}

/** A message and its result, so many at once: rate, times of both, and how many results were not there or another's. */
export async function conversations({ ao, process, send }, width, count) {
  const [posts, results, trips] = [[], [], []]
  let wrong = 0
  const rate = await spread(width, count, async (at) => {
    const began = performance.now()
    const message = await send(`c = (c or 0) + 1 return ${at}`)
    const posted = performance.now()
    const result = await ao.result({ process, message })
    const done = performance.now()
    if (!isOf(result, at)) wrong += 1
    posts.push(posted - began)
    results.push(done - posted)
    trips.push(done - began)
  })
  return { rate, post: of(posts), result: of(results), trip: of(trips), wrong }
}

/** The same with items that were signed before, so that the client costs little. */
export async function signedBefore({ mu, cu, jwk, process }, width, count) {
  const author = new bundles.ArweaveSigner(jwk)
  const tags = [...evaluate, { name: 'Data-Protocol', value: 'ao' }, { name: 'Type', value: 'Message' }, { name: 'Variant', value: 'ao.TN.1' }]
  const items = []
  for (let at = 0; at < count; at += 1) {
    const item = bundles.createData(`c = (c or 0) + 1 return ${at}`, author, { tags, target: process })
    await item.sign(author)
    items.push({ id: item.id, raw: item.getRaw() })
  }
  const headers = { 'content-type': 'application/octet-stream', accept: 'application/json' }
  const trips = []
  let wrong = 0
  const rate = await spread(width, count, async (at) => {
    const { id, raw } = items[at]
    const began = performance.now()
    const posted = await fetch(mu, { method: 'POST', headers, body: raw })
    await posted.arrayBuffer()
    const answer = posted.ok && (await fetch(`${cu}/result/${id}?process-id=${process}`))
    const result = answer ? await answer.json() : {}
    if (!isOf(result, at)) wrong += 1
    trips.push(performance.now() - began)
  })
  return { rate, trip: of(trips), wrong }
}
