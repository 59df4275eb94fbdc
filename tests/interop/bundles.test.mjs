// Bundles that arbundles makes, whole, broken and carried in items, as Weft judges them.

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { signers } from './lib/keys.mjs'
import { temporaryFolder, weft, weftJson } from './lib/run.mjs'

const require = createRequire(import.meta.url)
const { bundleAndSignData, createData } = require('@dha-team/arbundles')

const folder = temporaryFolder()
const headBytes = 32
const entryBytes = 64

let all
before(async () => {
  all = await signers()
})

let files = 0
async function verify(bytes) {
  files += 1
  const path = join(folder, `bundle-${files}`)
  writeFileSync(path, bytes)
  return weftJson(['bundle', 'verify', path])
}

/** A bundle with an item of every signer. */
async function mixed() {
  const items = []
  for (const { name, signer } of all) {
    const item = createData(`by ${name}`, signer, { tags: [{ name: 'Signer', value: name }] })
    await item.sign(signer)
    items.push(item)
  }
  return bundleAndSignData(items, all[0].signer)
}

test('a bundle with an item of every signer', async () => {
  const bundle = await mixed()
  assert.equal(await bundle.verify(), true)
  const { code, json } = await verify(bundle.getRaw())
  assert.equal(code, 0, json.reason)
  assert.equal(json.count, all.length)
  assert.deepEqual(json.items.map(({ id }) => id), bundle.getIds())
  assert.ok(json.items.every(({ valid }) => valid))
})

test('a bundle of none', async () => {
  const bundle = await bundleAndSignData([], all[0].signer)
  const { code, json } = await verify(bundle.getRaw())
  assert.equal(code, 0, json.reason)
  assert.deepEqual(json.items, [])
})

test('a bundle of five hundred', async () => {
  const { signer } = all.find(({ name }) => name === 'injected Solana')
  const items = []
  for (let at = 0; at < 500; at += 1) {
    const item = createData(`number ${at}`, signer)
    await item.sign(signer)
    items.push(item)
  }
  const bundle = await bundleAndSignData(items, signer)
  const { code, json } = await verify(bundle.getRaw())
  assert.equal(code, 0, json.reason)
  assert.deepEqual(json.items.map(({ id }) => id), bundle.getIds())
})

test('a bundle carried in an item, and that one in another', async () => {
  const bundleTags = [
    { name: 'Bundle-Format', value: 'binary' },
    { name: 'Bundle-Version', value: '2.0.0' },
  ]
  const { signer } = all[0]
  const carrier = createData((await mixed()).getRaw(), signer, { tags: bundleTags })
  await carrier.sign(signer)
  const { code, json } = await verify(carrier.getRaw())
  assert.equal(code, 0, json.reason)
  assert.equal(json.item.id, carrier.id)
  assert.equal(json.count, all.length)

  const outer = createData((await bundleAndSignData([carrier], signer)).getRaw(), signer, { tags: bundleTags })
  await outer.sign(signer)
  const report = await verify(outer.getRaw())
  assert.equal(report.code, 0, report.json.reason)
  assert.equal(report.json.items[0].id, carrier.id)
})

test('one bad item is named and its siblings stay valid', async () => {
  const bundle = await mixed()
  const raw = Buffer.from(bundle.getRaw())
  // The last byte of the bundle is the last byte of the last item's data.
  raw[raw.length - 1] ^= 1
  const { code, json } = await verify(raw)
  assert.equal(code, 1)
  assert.equal(json.valid, false)
  assert.match(json.reason, new RegExp(String(all.length - 1)))
  assert.deepEqual(json.items.map(({ valid }) => valid), all.map((_, at) => at !== all.length - 1))
})

test('a header that names another item', async () => {
  const bundle = await mixed()
  const raw = Buffer.from(bundle.getRaw())
  raw[headBytes + 32] ^= 1
  // arbundles compares each item with itself and misses this.
  const { code, json } = await verify(raw)
  assert.equal(code, 1)
  assert.equal(json.items[0].valid, false)
})

test('frames that do not fit', async () => {
  const raw = Buffer.from((await mixed()).getRaw())
  const changed = (at, value) => {
    const copy = Buffer.from(raw)
    copy[at] = value
    return copy
  }
  const broken = [
    ['cut short', raw.subarray(0, raw.length - 1)],
    ['bytes after the last item', Buffer.concat([raw, Buffer.alloc(1)])],
    ['more items than there are', changed(0, all.length + 1)],
    ['a billion items', changed(3, 0x7f)],
    ['an item that is too long', changed(headBytes + 2, 0x7f)],
    ['only a header', raw.subarray(0, headBytes + entryBytes * all.length)],
  ]
  for (const [what, bytes] of broken) {
    const { code, json } = await verify(bytes)
    assert.equal(code, 1, what)
    assert.equal(json.valid, false, what)
    assert.ok(json.reason.length > 0, what)
  }
})

test('what is no bundle cannot be read', async () => {
  for (const bytes of ['', 'no bundle', '[]']) {
    const { code, json, stderr } = await verify(bytes)
    assert.equal(code, 2)
    assert.equal(json, null)
    assert.ok(stderr.length > 0)
  }
  assert.equal((await weft(['bundle', 'verify', join(folder, 'missing')])).code, 2)
})
