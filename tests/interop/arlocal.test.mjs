// Batches that Weft posts to arlocal by itself, whole and in chunks, and a log that comes back from there to a node that has
// nothing but the address. Only in the full run: see lib/arlocal.mjs.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startArlocal } from './lib/arlocal.mjs'
import { wallet } from './lib/keys.mjs'
import { startNode } from './lib/node.mjs'
import { temporaryFolder } from './lib/run.mjs'

const require = createRequire(import.meta.url)
const Arweave = require('arweave')
const { generateTransactionChunks } = require('arweave/node/lib/merkle')
const skip = process.env.WEFT_FULL === '1' ? false : 'three minutes of npm, in the full run'
const listen = ['--listen', '/ip4/127.0.0.1/tcp/0']
const waitMs = 120_000
/** What posting a transaction with its chunks takes here, at most. */
const postMs = 3_000

/** A wallet in a file, with money on each of them: `{ file, address }`. */
async function paying(...arlocals) {
  const jwk = wallet()
  const file = join(temporaryFolder(), 'wallet.json')
  writeFileSync(file, JSON.stringify(jwk))
  const address = await Arweave.init({}).wallets.jwkToAddress(jwk)
  for (const arlocal of arlocals) {
    assert.equal((await arlocal.get(`mint/${address}/1000000000000000000`)).status, 200)
    await arlocal.mine(3)
  }
  return { file, address }
}

const anchoring = (arlocals, file, ...extra) => [
  ...listen,
  ...['--anchor', 'arweave', '--anchor-wallet', file, '--anchor-day-limit', '1000000000000000'],
  ...arlocals.flatMap(({ url }) => ['--anchor-gateways', url]),
  ...['--anchor-weave', arlocals[0].network, '--anchor-confirmations', '2', '--anchor-check-ms', '200'],
  // arlocal reads a bundle from its chunks in the order in which they came.
  ...['--anchor-chunks-at-once', '1', '--anchor-batch-age-ms', '100', '--anchor-batch-slots', '4', ...extra],
]

/**
 * Makes blocks until the log is anchored up to a slot. arlocal indexes the items of a bundle whose chunks are there when its
 * block is made, and of no other: so blocks wait until what is posted has had the time to come.
 */
async function anchored(node, id, slot, mine) {
  const deadline = Date.now() + waitMs
  const since = new Map()
  for (;;) {
    const [one] = (await node.weft('processes')).filter(({ process }) => process === id)
    if (one.anchored === slot) return
    const told = await node.weft('anchor', 'status')
    assert.ok(Date.now() < deadline, `slot ${one.anchored} of ${slot} is anchored: ${JSON.stringify(told)}`)
    for (const { id: posted } of told.postings) if (posted && !since.has(posted)) since.set(posted, Date.now())
    if ([...since.values()].every((first) => Date.now() - first > postMs)) await mine()
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
}

async function send(node, id, number, bytes) {
  const text = `-- ${String(number).repeat(bytes)}`.slice(0, bytes)
  await node.weft('send', id, '--action', 'Eval', '--data', `n = (n or 0) + ${number}\n${text}`, '--wait')
}

test('a log goes to arlocal and comes back', { skip }, async (t) => {
  const arlocal = await startArlocal()
  t.after(() => arlocal.stop())
  const { file, address } = await paying(arlocal)
  const node = await startNode(temporaryFolder(), anchoring([arlocal], file))
  t.after(() => node.stop())
  const { id } = await node.weft('spawn')
  const messages = 12
  // The first batch has the module, the second is small enough to be posted whole, the rest goes in chunks.
  await anchored(node, id, 0, () => arlocal.mine())
  for (let sent = 0; sent < messages; sent += 1) {
    await send(node, id, sent, sent < 4 ? 100 : 100_000)
    if (sent === 3) await anchored(node, id, 4, () => arlocal.mine())
  }
  await anchored(node, id, messages, () => arlocal.mine())
  // One alone in the newest block: arlocal sorts by blocks, and in one by nothing, so which slot is the last shows only so.
  await send(node, id, messages, 100)
  await anchored(node, id, messages + 1, () => arlocal.mine())
  const info = await node.weft('anchor', 'status')
  assert.equal(info.wallet, address)
  // What is attested late goes in batches of its own, which may be on their way still.
  assert.ok(info.postings.every(({ signed }) => signed <= 1), JSON.stringify(info))
  const final = info.postings.filter(({ state }) => state === 'final')
  const sizes = final.map(({ bytes }) => bytes)
  assert.ok(sizes.some((bytes) => bytes <= 262_144) && sizes.some((bytes) => bytes > 262_144), JSON.stringify(sizes))
  // What was posted is what arweave-js takes for a transaction of this wallet.
  const arweave = Arweave.init({ host: '127.0.0.1', port: arlocal.port, protocol: 'http' })
  for (const posting of final) {
    const transaction = await arweave.transactions.get(posting.id)
    assert.ok(await arweave.transactions.verify(transaction))
    assert.equal(await arweave.wallets.ownerToAddress(transaction.owner), address)
    assert.equal(transaction.data_root, posting.data_root)
    const data = Buffer.from(await (await fetch(`${arlocal.url}/${posting.id}`)).arrayBuffer())
    const { data_root: root } = await generateTransactionChunks(data)
    assert.equal(Buffer.from(root).toString('base64url'), posting.data_root)
  }

  const other = await startNode(temporaryFolder(), listen)
  t.after(() => other.stop())
  const report = await other.weft('recover', id, '--from', arlocal.url)
  assert.deepEqual([report.slots, report.missing, report.ends_here], [messages + 2, null, true], JSON.stringify(report))
  const [here, there] = [await node.weft('verify', id), await other.weft('verify', id)]
  assert.equal(there.difference, null)
  assert.equal(there.state_root, here.state_root)
})

test('what arlocal drops is posted again, as the same transaction', { skip }, async (t) => {
  const arlocal = await startArlocal('--fails', '50')
  t.after(() => arlocal.stop())
  const { file } = await paying(arlocal)
  const node = await startNode(temporaryFolder(), anchoring([arlocal], file))
  t.after(() => node.stop())
  const { id } = await node.weft('spawn')
  for (let sent = 0; sent < 9; sent += 1) await send(node, id, sent, 100)
  // At a pace at which what was dropped is posted again long before fifty blocks have passed, after which it would be signed anew.
  await anchored(node, id, 9, async () => {
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    await arlocal.mine(1, 'mineWithFails')
  })
  const { postings } = await node.weft('anchor', 'status')
  const final = postings.filter(({ state }) => state === 'final')
  assert.ok(final.length > 0 && postings.every(({ signed }) => signed <= 1), JSON.stringify(postings))
})

test('two that name different blocks are no quorum, and one alone is where that is enough', { skip }, async (t) => {
  const both = [await startArlocal(), await startArlocal()]
  t.after(() => Promise.all(both.map((one) => one.stop())))
  const { file } = await paying(...both)
  const folder = temporaryFolder()
  let node = await startNode(folder, anchoring(both, file))
  const { id } = await node.weft('spawn')
  const deadline = Date.now() + waitMs
  for (;;) {
    const { postings, spent } = await node.weft('anchor', 'status')
    assert.equal(spent, 0, 'nothing is signed')
    if (postings[0]?.trouble?.includes('too few gateways name the same block')) break
    assert.ok(Date.now() < deadline, JSON.stringify(postings))
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  await node.stop()
  node = await startNode(folder, anchoring(both, file, '--anchor-quorum', '1'))
  t.after(() => node.stop())
  await anchored(node, id, 0, () => Promise.all(both.map((one) => one.mine())))
})
