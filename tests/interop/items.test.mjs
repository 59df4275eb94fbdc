// Data items cross between arbundles and Weft, both ways, with every signer that arbundles has.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { belowThreshold, ed25519, kyve, ofNobody, signers, wallet } from './lib/keys.mjs'
import { temporaryFolder, weft, weftJson } from './lib/run.mjs'

const require = createRequire(import.meta.url)
const { createData, DataItem } = require('@dha-team/arbundles')

const folder = temporaryFolder()
const target = createHash('sha256').update('a target').digest('base64url')
const anchor = 'an anchor of thirty-two letters!'

const shapes = [
  { name: 'bare', data: '' },
  { name: 'text', data: 'hello', tags: [{ name: 'Content-Type', value: 'text/plain' }] },
  { name: 'target', data: 'x', target },
  { name: 'anchor', data: 'x', anchor },
  {
    name: 'everything',
    data: Buffer.from([0, 255, 1, 254, 10, 13]),
    target,
    anchor,
    tags: Array.from({ length: 40 }, (_, at) => ({ name: `Name-${at}`, value: `v\u00e4lue \u4e16 \u{1F600} ${at}` })),
  },
  { name: 'a megabyte', data: Buffer.alloc(1 << 20, 'weft'), tags: [{ name: 'Action', value: 'Large' }] },
]

let all
before(async () => {
  all = await signers()
})

let files = 0
function file(bytes) {
  files += 1
  const path = join(folder, `item-${files}`)
  writeFileSync(path, bytes)
  return path
}

async function signed(signer, shape) {
  const { data, target, anchor, tags } = shape
  const item = createData(data, signer, { target, anchor, tags })
  await item.sign(signer)
  return item
}

const verify = (path) => weftJson(['item', 'verify', path])

/** Weft says of the item what arbundles says. */
function assertReport(report, item, type) {
  assert.equal(report.valid, true, report.reason)
  assert.equal(report.reason, null)
  assert.equal(report.id, item.id)
  assert.equal(report.signature_type, type)
  assert.equal(report.owner, createHash('sha256').update(item.rawOwner).digest('base64url'))
  assert.equal(report.target ?? '', item.target)
  assert.equal(report.anchor ?? '', Buffer.from(item.rawAnchor).toString('base64url'))
  assert.deepEqual(report.tags, item.tags)
}

test('items of every arbundles signer', async (t) => {
  for (const { name, type, signer } of all) {
    await t.test(`${name}, type ${type}`, async () => {
      for (const shape of shapes) {
        const item = await signed(signer, shape)
        const raw = item.getRaw()
        assert.equal(await DataItem.verify(raw), true, `arbundles, ${shape.name}`)
        const { code, json, stderr } = await verify(file(raw))
        assert.equal(code, 0, `${shape.name}: ${json?.reason ?? stderr}`)
        assertReport(json, item, type)
      }
    })
  }
})

test('items in base64, of either alphabet', async () => {
  const item = await signed(all[0].signer, shapes[1])
  for (const encoding of ['base64', 'base64url']) {
    const { code, json } = await verify(file(`${item.getRaw().toString(encoding)}\n`))
    assert.equal(code, 0)
    assert.equal(json.id, item.id)
  }
})

test('one changed bit of any part makes any item invalid', async (t) => {
  for (const { name, signer } of all) {
    await t.test(name, async () => {
      const item = await signed(signer, shapes[4])
      const { ownerLength, signatureLength } = signer
      const part = {
        'first of the signature': 2,
        'last signed owner byte': 2 + signatureLength + Math.min(ownerLength, 32) - 1,
        target: 2 + signatureLength + ownerLength + 1,
        anchor: 2 + signatureLength + ownerLength + 33 + 1,
        tags: item.getTagsStart() + 16 + 20,
        data: item.getRaw().length - 1,
      }
      for (const [what, at] of Object.entries(part)) {
        const raw = Buffer.from(item.getRaw())
        raw[at] ^= 1
        const { code, json, stderr } = await verify(file(raw))
        assert.equal(code, 1, `${what}: ${stderr}`)
        assert.equal(json.valid, false, what)
        assert.ok(json.reason.length > 0, what)
      }
    })
  }
})

test('what arbundles takes and the rules refuse', async (t) => {
  const cases = [
    ['a multi-signature below its threshold', belowThreshold(), true],
    ['a multi-signature of nobody', ofNobody(), true],
    ['type 101', kyve(), false],
  ]
  for (const [name, signer, taken] of cases) {
    await t.test(name, async () => {
      const raw = (await signed(signer, shapes[1])).getRaw()
      if (taken) assert.equal(await DataItem.verify(raw), true)
      const { code, json } = await verify(file(raw))
      assert.equal(code, 1)
      assert.equal(json.valid, false)
      assert.ok(json.reason.length > 0)
    })
  }
})

test('what is no item cannot be read', async () => {
  for (const path of [join(folder, 'missing'), file(''), file('not an item'), file('{}'), folder]) {
    const { code, stdout, stderr } = await weft(['item', 'verify', path])
    assert.equal(code, 2, path)
    assert.equal(stdout.length, 0)
    assert.match(stderr.toString(), new RegExp(path.split('/').pop()))
  }
})

test('an item cut off anywhere is refused and hurts nobody', async () => {
  const raw = (await signed(all[5].signer, shapes[4])).getRaw()
  for (const length of [1, 2, 3, 65, 66, 97, 98, 99, 131, 132, 165, 170, 200, raw.length - 7]) {
    const { code } = await verify(file(raw.subarray(0, length)))
    assert.ok(code === 1 || code === 2, `${length} bytes: exit ${code}`)
  }
})

test('items that Weft signs', async (t) => {
  const keys = [
    { name: 'ed25519', type: 2, jwk: ed25519('weft').jwk },
    { name: 'RSA 4096', type: 1, jwk: wallet() },
  ]
  for (const { name, type, jwk } of keys) {
    await t.test(name, async () => {
      const key = file(JSON.stringify(jwk))
      // A key that others can read is refused.
      require('node:fs').chmodSync(key, 0o644)
      await weft(['item', 'sign', '--key', key, '--data', 'x']).then(({ code }) => assert.notEqual(code, 0))
      require('node:fs').chmodSync(key, 0o600)
      for (const shape of shapes) {
        const args = ['item', 'sign', '--key', key, '--data', `@${file(shape.data)}`]
        if (shape.target) args.push('--target', shape.target)
        if (shape.anchor) args.push('--anchor', shape.anchor)
        for (const tag of shape.tags ?? []) args.push('--tag', `${tag.name}=${tag.value}`)
        const out = join(folder, `signed-${name}-${shape.name}`.replaceAll(' ', '-'))
        const { code, stderr } = await weft([...args, '--output', out])
        assert.equal(code, 0, stderr.toString())
        const raw = readFileSync(out)
        assert.equal(await DataItem.verify(raw), true, shape.name)
        const item = new DataItem(raw)
        assert.equal(item.signatureType, type)
        assert.equal(item.target, shape.target ?? '')
        assert.equal(Buffer.from(item.rawAnchor).toString(), shape.anchor ?? '')
        assert.deepEqual(item.tags, shape.tags ?? [])
        assert.deepEqual(Buffer.from(item.rawData), Buffer.from(shape.data))
        const report = await verify(out)
        assert.equal(report.code, 0)
        assertReport(report.json, item, type)
      }
    })
  }
})
