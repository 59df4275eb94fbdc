// Checks the log of a process as it lies on a weave, with public packages alone and nothing of Weft's:
//
//     node verify-log.mjs GATEWAY PROCESS          such as http://127.0.0.1:1984, or https://arweave.net
//
// Gateways only say where bytes are. Everything else is computed here: the data root of each bundle, the signature
// of the transaction that names it, the id and the signature of each item, that its scheduler signed each slot, and that the slots are one chain:
// hash(0) = SHA-256(process), hash(n) = SHA-256(id of assignment n-1, hash(n-1)). Prints JSON, and ends with 1
// at the first thing that does not fit.

import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const { DataItem } = require('@dha-team/arbundles')
const arweave = require('arweave').init({})
const { generateTransactionChunks } = require('arweave/node/lib/merkle')

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()
const bytesOf = (text) => Buffer.from(text, 'base64url')
const tagOf = (item, name) => item.tags.find((tag) => tag.name === name)?.value

/** Something that does not fit. */
export class Fault extends Error {}

function expect(fits, text) {
  if (!fits) throw new Fault(text)
}

async function answer(url, options) {
  const response = await fetch(url, options)
  expect(response.status === 200, `${url} answers ${response.status}`)
  return response
}

/** All edges that a query finds, page by page. */
async function search(gateway, filter) {
  const edges = []
  const limit = 10_000
  for (let after = ''; edges.length < limit; after = edges.at(-1).cursor) {
    const query = `query($after:String){transactions(first:100,after:$after,sort:HEIGHT_ASC,${filter})
      {pageInfo{hasNextPage} edges{cursor node{id tags{name value} owner{address} bundledIn{id}}}}}`
    const body = JSON.stringify({ query, variables: { after } })
    const headers = { 'content-type': 'application/json' }
    const response = await answer(`${gateway}/graphql`, { method: 'POST', headers, body })
    const { data, errors } = await response.json()
    expect(!errors, `the query fails: ${errors?.[0]?.message}`)
    edges.push(...data.transactions.edges)
    if (!data.transactions.pageInfo.hasNextPage || data.transactions.edges.length === 0) return edges
  }
  throw new Fault(`more than ${limit} items are listed`)
}

/** A number of 256 bits, the low byte first. */
function numberAt(bytes, at) {
  expect(at + 32 <= bytes.length, 'the bundle ends inside its header')
  expect(bytes.subarray(at + 8, at + 32).every((byte) => byte === 0), 'a number of the header is too large')
  return Number(bytes.readBigUInt64LE(at))
}

/** The items of a bundle, each with its id and signature checked. */
async function itemsOf(bytes) {
  const count = numberAt(bytes, 0)
  const items = []
  let start = 32 + 64 * count
  expect(start <= bytes.length, 'the bundle declares more items than it has room for')
  for (let index = 0; index < count; index += 1) {
    const size = numberAt(bytes, 32 + 64 * index)
    const named = bytes.subarray(64 + 64 * index, 96 + 64 * index)
    expect(start + size <= bytes.length, `item ${index} reaches past the end`)
    const raw = bytes.subarray(start, start + size)
    start += size
    const item = new DataItem(raw)
    expect(sha256(item.rawSignature).equals(named), `item ${index} has another id than the header says`)
    // What is no point of the curve is thrown.
    const valid = await DataItem.verify(raw).catch(() => false)
    expect(valid, `the signature of item ${index} is not over its bytes`)
    items.push({
      id: named.toString('base64url'),
      owner: sha256(item.rawOwner).toString('base64url'),
      tags: item.tags,
    })
  }
  expect(start === bytes.length, 'there are bytes after the last item')
  return items
}

/** Reads a bundle; its name on a weave of Weft is the root of its bytes, elsewhere its transaction has that. */
async function readBundle(gateway, id) {
  const bytes = Buffer.from(await (await answer(`${gateway}/raw/${id}`)).arrayBuffer())
  const chunks = await generateTransactionChunks(bytes)
  const root = Buffer.from(chunks.data_root).toString('base64url')
  if (root !== id) {
    const raw = await (await answer(`${gateway}/tx/${id}`)).json()
    expect(raw.data_root === root, `bundle ${id}: its bytes have the root ${root}`)
    const signed = sha256(bytesOf(raw.signature)).toString('base64url')
    expect(raw.format === 2 && raw.id === id && signed === id, `bundle ${id} is not that transaction`)
    // Over the root and all else that is said of it.
    const valid = await arweave.transactions.verify(arweave.transactions.fromRaw(raw)).catch(() => false)
    expect(valid, `bundle ${id}: the signature of its transaction is not over what it says`)
  }
  try {
    return await itemsOf(bytes)
  } catch (error) {
    throw error instanceof Fault ? new Fault(`bundle ${id}: ${error.message}`) : error
  }
}

/** Checks a log: what is in it, or the Fault that was found. */
export async function verifyLog(gateway, process) {
  const items = new Map()
  const bundles = new Set()
  const read = async (id) => {
    if (bundles.has(id)) return
    bundles.add(id)
    for (const item of await readBundle(gateway, id)) items.set(item.id, item)
  }
  const [opening] = await search(gateway, `ids:["${process}"]`)
  expect(opening?.node.bundledIn, `process ${process} is in no bundle of this gateway`)
  await read(opening.node.bundledIn.id)
  // The id is that of the signature, and the signature is over the tags: who schedules is proven.
  const scheduler = tagOf(items.get(process) ?? { tags: [] }, 'Scheduler')
  expect(scheduler, `item ${process} is no process`)
  const listed = await search(
    gateway,
    `owners:["${scheduler}"],tags:[{name:"Type",values:["Assignment"]},{name:"Process",values:["${process}"]}]`
  )
  for (const { node } of listed) await read(node.bundledIn.id)

  const slots = new Map()
  for (const item of items.values()) {
    if (tagOf(item, 'Type') !== 'Assignment' || tagOf(item, 'Process') !== process) continue
    if (item.owner !== scheduler) continue
    const slot = Number(tagOf(item, 'Nonce'))
    expect(!slots.has(slot), `slot ${slot} was signed twice`)
    slots.set(slot, item)
  }
  let chain = sha256(bytesOf(process))
  for (let slot = 0; slot < slots.size; slot += 1) {
    const assignment = slots.get(slot)
    expect(assignment, `slot ${slot} is missing`)
    expect(tagOf(assignment, 'Hash-Chain') === chain.toString('base64url'), `slot ${slot} does not continue the chain`)
    const message = tagOf(assignment, 'Message') ?? process
    expect(slot === 0 || tagOf(assignment, 'Message'), `slot ${slot} names no message`)
    expect(items.has(message), `the item of slot ${slot} is missing`)
    const proof = tagOf(items.get(message), 'Origin-Proof')
    expect(!proof || items.has(proof), `the origin proof of slot ${slot} is missing`)
    chain = sha256(bytesOf(assignment.id), chain)
  }
  expect(slots.size > 0, 'the log is empty')
  return { process, scheduler, slots: slots.size, items: items.size, bundles: bundles.size, next: chain.toString('base64url') }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [gateway, id] = process.argv.slice(2)
  if (!id) {
    console.error('usage: node verify-log.mjs GATEWAY PROCESS')
    process.exit(2)
  }
  try {
    console.log(JSON.stringify(await verifyLog(gateway.replace(/\/+$/, ''), id), null, 2))
  } catch (error) {
    console.log(JSON.stringify({ process: id, fault: error.message }))
    process.exit(1)
  }
}
