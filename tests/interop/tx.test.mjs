// Layer 1 transactions that arweave-js signs, as Weft judges them.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { wallet } from './lib/keys.mjs'
import { temporaryFolder, weft, weftJson } from './lib/run.mjs'

const Arweave = createRequire(import.meta.url)('arweave')
const arweave = Arweave.init({ host: '127.0.0.1', port: 9, protocol: 'http' })
const folder = temporaryFolder()

const chunk = 256 * 1024
const target = createHash('sha256').update('somebody').digest('base64url')
const shapes = [
  { name: 'a transfer', target, quantity: '1000000000000' },
  { name: 'a little data', data: 'hello' },
  { name: 'one byte', data: Buffer.of(0) },
  { name: 'exactly a chunk', data: Buffer.alloc(chunk, 1) },
  { name: 'a chunk and a byte', data: Buffer.alloc(chunk + 1, 2) },
  { name: 'chunks that are balanced', data: Buffer.alloc(3 * chunk + 20_000, 3) },
  { name: 'data and a transfer', data: Buffer.alloc(1000, 4), target, quantity: '1' },
]
const tags = [
  ['Content-Type', 'application/octet-stream'],
  ['App-Name', 'weft interop'],
  ['Unicode', '\u4e16\u754c \u{1F600}'],
]

let jwk
before(() => {
  jwk = wallet()
})

async function signed({ name, ...shape }, tagList = tags) {
  // With both given arweave-js asks no node.
  const tx = await arweave.createTransaction({ ...shape, last_tx: createHash('sha384').update(name).digest('base64url'), reward: '12345' }, jwk)
  for (const [key, value] of tagList) tx.addTag(key, value)
  await arweave.transactions.sign(tx, jwk)
  return tx
}

/** The transaction as a node takes it, without what arweave-js keeps for itself. */
const json = (tx) => {
  const { chunks, ...fields } = JSON.parse(JSON.stringify(tx))
  return fields
}

let files = 0
async function verify(content) {
  files += 1
  const path = join(folder, `tx-${files}`)
  writeFileSync(path, typeof content === 'string' || Buffer.isBuffer(content) ? content : JSON.stringify(content))
  return weftJson(['tx', 'verify', path])
}

test('transactions of arweave-js', async (t) => {
  for (const shape of shapes) {
    await t.test(shape.name, async () => {
      const tx = await signed(shape)
      assert.equal(await arweave.transactions.verify(tx), true)
      const { code, json: report, stderr } = await verify(json(tx))
      assert.equal(code, 0, report?.reason ?? stderr)
      assert.equal(report.valid, true)
      assert.equal(report.id, tx.id)
      assert.equal(report.owner, await arweave.wallets.jwkToAddress(jwk))
      assert.equal(report.target ?? '', tx.target)
      assert.equal(report.quantity, tx.quantity)
      assert.equal(report.reward, tx.reward)
      assert.equal(report.anchor, tx.last_tx)
      assert.equal(report.data_root ?? '', tx.data_root)
      assert.equal(String(report.data_size), tx.data_size)
      assert.deepEqual(report.tags.map(({ name, value }) => [name, value]), tags)
    })
  }
})

test('data that travels apart is named by its root', async () => {
  const fields = { ...json(await signed(shapes[5])), data: '' }
  const { code, json: report } = await verify(fields)
  assert.equal(code, 0, report.reason)
  assert.equal(report.data_inline, false)
  assert.equal(report.data_root, fields.data_root)
})

test('a transaction in base64', async () => {
  const tx = await signed(shapes[1])
  const { code, json: report } = await verify(Buffer.from(JSON.stringify(json(tx))).toString('base64'))
  assert.equal(code, 0, report?.reason)
  assert.equal(report.id, tx.id)
})

test('any changed field makes it invalid', async (t) => {
  const good = json(await signed(shapes[6]))
  const flip = (text) => {
    const bytes = Buffer.from(text, 'base64url')
    bytes[bytes.length - 1] ^= 1
    return bytes.toString('base64url')
  }
  const other = json(await signed(shapes[1], []))
  const changes = {
    owner: flip(good.owner),
    target: flip(good.target),
    quantity: '2',
    reward: '12346',
    last_tx: flip(good.last_tx),
    data: flip(good.data),
    data_root: flip(good.data_root),
    data_size: '1001',
    signature: flip(good.signature),
    id: other.id,
    tags: good.tags.slice(1),
  }
  for (const [field, value] of Object.entries(changes)) {
    await t.test(field, async () => {
      const { code, json: report } = await verify({ ...good, [field]: value })
      assert.equal(code, 1)
      assert.equal(report.valid, false)
      assert.ok(report.reason.length > 0)
    })
  }
})

test('what is no transaction cannot be read', async () => {
  for (const content of ['', 'no transaction', '[1]', '{"format":2', Buffer.of(0, 1, 2)]) {
    const { code, json: report, stderr } = await verify(content)
    assert.equal(code, 2, String(content))
    assert.equal(report, null)
    assert.ok(stderr.length > 0)
  }
  assert.equal((await weft(['tx', 'verify', join(folder, 'missing')])).code, 2)
  // JSON that is no transaction is read, and is not valid.
  assert.equal((await verify('{}')).code, 1)
})
