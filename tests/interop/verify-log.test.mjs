// The checker of logs, which knows nothing of Weft: it finds a whole log, under names of their own and under signed
// transactions, and each way of tampering by what was tampered with. Gateways here name what they changed by its new
// root, so that the first look is not the last.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { wallet } from './lib/keys.mjs'
import { startNode } from './lib/node.mjs'
import { run, temporaryFolder } from './lib/run.mjs'

const require = createRequire(import.meta.url)
const bs58 = require('bs58')
const { DataItem, SolanaSigner, createData } = require('@dha-team/arbundles')
const arweave = require('arweave').init({})
const { generateTransactionChunks } = require('arweave/node/lib/merkle')

const messages = 7
const folder = temporaryFolder()
let node
let address
let id

before(async () => {
  const flags = ['--listen', '/ip4/127.0.0.1/tcp/0', '--weave-listen', '0', '--weave-block-ms', '100']
  node = await startNode(folder, [...flags, '--anchor-batch-age-ms', '100', '--anchor-batch-slots', '3'])
  address = node.ready.weave_api
  id = (await node.weft('spawn')).id
  for (let sent = 1; sent <= messages; sent += 1) {
    await node.weft('send', id, '--action', 'Eval', '--data', `n = (n or 0) + ${sent}`, '--wait')
  }
  const deadline = Date.now() + 60_000
  for (;;) {
    const [process] = await node.weft('processes')
    if (process.anchored === messages) break
    assert.ok(Date.now() < deadline, `slot ${process.anchored} of ${messages} is anchored`)
  }
})
after(() => node.stop())

const verify = async (gateway) => {
  const script = fileURLToPath(new URL('verify-log.mjs', import.meta.url))
  const { code, stdout } = await run(process.execPath, [script, gateway, id])
  return { code, told: JSON.parse(stdout.toString()) }
}

/** What the weave says, with bundles as `change` gives them and names as `rename` does. */
async function behind(change, rename = (text) => text, more = {}) {
  const server = createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    if (more[request.url]) return response.end(more[request.url])
    const options = request.method === 'POST' ? { method: 'POST', body: Buffer.concat(chunks) } : {}
    const answer = await fetch(`${address}${request.url}`, { ...options, headers: { 'content-type': 'application/json' } })
    const body = Buffer.from(await answer.arrayBuffer())
    response.writeHead(answer.status)
    response.end(request.url.startsWith('/raw/') ? change(body) : rename(body.toString()))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await verify(`http://127.0.0.1:${server.address().port}`)
  } finally {
    server.close()
  }
}

const le256 = (number) => {
  const bytes = Buffer.alloc(32)
  bytes.writeBigUInt64LE(BigInt(number))
  return bytes
}

/** The items of a bundle: `{ id, raw }`. */
function split(bytes) {
  const items = []
  const count = Number(bytes.readBigUInt64LE(0))
  let start = 32 + 64 * count
  for (let index = 0; index < count; index += 1) {
    const size = Number(bytes.readBigUInt64LE(32 + 64 * index))
    items.push({ id: bytes.subarray(64 + 64 * index, 96 + 64 * index), raw: bytes.subarray(start, start + size) })
    start += size
  }
  return items
}

const join256 = (items) =>
  Buffer.concat([
    le256(items.length),
    ...items.flatMap(({ id, raw }) => [le256(raw.length), id]),
    ...items.map(({ raw }) => raw),
  ])

const rootOf = async (bytes) => Buffer.from((await generateTransactionChunks(bytes)).data_root).toString('base64url')

/** All bundles of the log, by name. */
async function bundles() {
  const all = new Map()
  // One may wait for its block.
  const mined = (await node.weft('weave')).batches.filter(({ block }) => block !== null)
  for (const { data_root } of mined) {
    all.set(data_root, Buffer.from(await (await fetch(`${address}/raw/${data_root}`)).arrayBuffer()))
  }
  return all
}

/** Gateways that name each bundle, with its items changed, as `nameOf` does. */
async function renamed(change, nameOf = async (bytes) => ({ name: await rootOf(bytes) })) {
  const more = {}
  const names = new Map()
  for (const [name, bytes] of await bundles()) {
    const changed = join256(await change(split(bytes)))
    const { name: other, transaction } = await nameOf(changed)
    names.set(name, other)
    more[`/raw/${other}`] = changed
    if (transaction) more[`/tx/${other}`] = JSON.stringify(transaction)
  }
  const rename = (text) => [...names].reduce((text, [from, to]) => text.replaceAll(from, to), text)
  return behind((body) => body, rename, more)
}

const tag = ({ raw }, name) => new DataItem(raw).tags.find((tag) => tag.name === name)?.value
const isSlot = (item, slot) =>
  tag(item, 'Type') === 'Assignment' && tag(item, 'Process') === id && tag(item, 'Nonce') === String(slot)

/** An item signed anew, by the scheduler itself unless another key is given. */
async function signedAgain({ raw }, change, secret) {
  const item = new DataItem(raw)
  const seed = secret ?? Buffer.from(JSON.parse(readFileSync(join(folder, 'key.json'))).d, 'base64url')
  const { ed25519Public } = publicOf(seed)
  const signer = new SolanaSigner(bs58.encode(Buffer.concat([seed, ed25519Public])))
  const { target, rawAnchor: anchor } = item
  const options = { tags: item.tags.map(change), ...(target && { target }) }
  const made = createData(item.rawData, signer, anchor.length > 0 ? { ...options, anchor } : options)
  await made.sign(signer)
  const signed = made.getRaw()
  return { id: createHash('sha256').update(new DataItem(signed).rawSignature).digest(), raw: signed }
}

function publicOf(seed) {
  const { createPrivateKey, createPublicKey } = require('node:crypto')
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  return { ed25519Public: Buffer.from(createPublicKey(key).export({ format: 'jwk' }).x, 'base64url') }
}

const found = async (answer, what) => {
  const { code, told } = await answer
  assert.equal(code, 1, `${what} was not found: ${JSON.stringify(told)}`)
  assert.match(told.fault, what)
}

test('a whole log is whole, whoever bundles it', async () => {
  const { code, told } = await verify(address)
  assert.equal(code, 0, told.fault)
  assert.equal(told.slots, messages + 1)
  assert.equal((await node.weft('inspect', id)).head, messages)
  const same = await renamed(async (items) => items.toReversed())
  assert.deepEqual([same.code, same.told.next], [0, told.next], same.told.fault)
})

test('bytes that are not those of their name are found wherever they changed', async () => {
  const flip = (at) => (body) => {
    body[at(body)] ^= 1
    return body
  }
  for (const place of [() => 0, () => 40, () => 70, (body) => body.length - 1, (body) => body.length >> 1]) {
    await found(behind(flip(place)), /root|is not that transaction/)
  }
  await found(behind((body) => body.subarray(0, body.length - 1)), /root|is not that transaction/)
})

test('a signature, an id, a number of the header', async () => {
  const changed = (change) => renamed(async (items) => items.map((item) => change({ id: Buffer.from(item.id), raw: Buffer.from(item.raw) })))
  // Of a message the last byte is data.
  await found(
    changed((item) => {
      if (tag(item, 'Action') === 'Eval') item.raw[item.raw.length - 1] ^= 1
      return item
    }),
    /signature of item \d+ is not over its bytes/
  )
  await found(
    changed((item) => {
      item.id[0] ^= 1
      return item
    }),
    /item 0 has another id than the header says/
  )
  // Its signature, with the header told so.
  await found(
    changed((item) => {
      item.raw[2] ^= 1
      return { ...item, id: createHash('sha256').update(new DataItem(item.raw).rawSignature).digest() }
    }),
    /signature of item 0 is not over its bytes/
  )
})

test('a slot that is gone, an item that is gone, a slot that is there twice', async () => {
  const without = (gone) => renamed(async (items) => items.filter((item) => !gone(item)))
  await found(without((item) => isSlot(item, 4)), /slot 4 is missing/)
  const evaluates = (item) => tag(item, 'Action') === 'Eval' && new DataItem(item.raw).rawData.toString().endsWith('+ 5')
  await found(without(evaluates), /the item of slot 5 is missing/)
  const again = renamed(async (items) => {
    const slot = items.find((item) => isSlot(item, 3))
    const other = slot && (await signedAgain(slot, (tag) => (tag.name === 'Timestamp' ? { ...tag, value: '1' } : tag)))
    return other ? [...items, other] : items
  })
  await found(again, /slot 3 was signed twice/)
})

test('a link of the chain, also where the scheduler itself signed the wrong one', async () => {
  const relinked = (secret) =>
    renamed(async (items) => {
      const change = (tag) => (tag.name === 'Hash-Chain' ? { ...tag, value: 'A'.repeat(43) } : tag)
      return Promise.all(items.map((item) => (isSlot(item, 6) ? signedAgain(item, change, secret) : item)))
    })
  await found(relinked(), /slot 6 does not continue the chain/)
  // What a stranger signs in its place is no slot at all.
  await found(relinked(Buffer.alloc(32, 7)), /slot 6 is missing/)
})

test('bundles under transactions are those that were signed', async () => {
  const key = wallet()
  const posted = async (bytes, change = (transaction) => transaction) => {
    const transaction = await arweave.createTransaction({ data: bytes, last_tx: '', reward: '1' }, key)
    await arweave.transactions.sign(transaction, key)
    const { data: _, ...header } = transaction.toJSON()
    const said = change({ ...header, data: '' })
    return { name: said.id, transaction: said }
  }
  const of = (change) => renamed(async (items) => items, (bytes) => posted(bytes, change))
  const whole = await of()
  assert.equal(whole.code, 0, whole.told.fault)
  await found(of((said) => ({ ...said, reward: '2' })), /signature of its transaction/)
  await found(of((said) => ({ ...said, data_root: 'A'.repeat(43) })), /its bytes have the root/)
  const other = Buffer.alloc(512, 3).toString('base64url')
  await found(of((said) => ({ ...said, signature: other })), /is not that transaction/)
  const named = createHash('sha256').update(Buffer.alloc(512, 3)).digest('base64url')
  await found(of((said) => ({ ...said, signature: other, id: named })), /signature of its transaction/)
})
