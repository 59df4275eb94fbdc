// A log that comes back from arlocal: its batches are posted there as transactions by arweave-js, as Weft posts
// none yet, and read again by a node that has nothing but the address. Only in the full run: see lib/arlocal.mjs.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { startArlocal } from './lib/arlocal.mjs'
import { wallet } from './lib/keys.mjs'
import { startNode } from './lib/node.mjs'
import { temporaryFolder } from './lib/run.mjs'

const Arweave = createRequire(import.meta.url)('arweave')
const skip = process.env.WEFT_FULL === '1' ? false : 'three minutes of npm, in the full run'
const listen = ['--listen', '/ip4/127.0.0.1/tcp/0']
const anchoring = ['--weave-listen', '0', '--weave-block-ms', '100', '--anchor-batch-age-ms', '100', '--anchor-batch-slots', '4']
const messages = 12

test('a log comes back from arlocal', { skip }, async (t) => {
  const arlocal = await startArlocal()
  t.after(() => arlocal.stop())
  const arweave = Arweave.init({ host: '127.0.0.1', port: arlocal.port, protocol: 'http' })
  const jwk = wallet()
  const address = await arweave.wallets.jwkToAddress(jwk)
  assert.equal((await arlocal.get(`mint/${address}/1000000000000000`)).status, 200)

  const node = await startNode(temporaryFolder(), [...listen, ...anchoring])
  t.after(() => node.stop())
  const { id } = await node.weft('spawn')
  for (let sent = 0; sent < messages; sent += 1) {
    // Long enough that some batches travel in chunks.
    const text = `-- ${String(sent).repeat(100_000)}`.slice(0, 100_000)
    await node.weft('send', id, '--action', 'Eval', '--data', `n = (n or 0) + ${sent}\n${text}`, '--wait')
  }
  const deadline = Date.now() + 60_000
  for (;;) {
    const [{ anchored }] = (await node.weft('processes')).filter((one) => one.process === id)
    if (anchored === messages) break
    assert.ok(Date.now() < deadline, `slot ${anchored} of ${messages} is anchored`)
  }
  const { batches } = await node.weft('weave')
  for (const { data_root: root } of batches) {
    const data = Buffer.from(await (await fetch(`${node.ready.weave_api}/raw/${root}`)).arrayBuffer())
    const transaction = await arweave.createTransaction({ data }, jwk)
    transaction.addTag('Bundle-Format', 'binary')
    transaction.addTag('Bundle-Version', '2.0.0')
    await arweave.transactions.sign(transaction, jwk)
    const uploader = await arweave.transactions.getUploader(transaction)
    while (!uploader.isComplete) await uploader.uploadChunk()
    // A background task of its own gets in the way of the block now and then.
    let mined = 0
    for (let tries = 0; tries < 20 && mined !== 200; tries += 1) {
      mined = (await arlocal.get('mine')).status
      if (mined !== 200) await new Promise((resolve) => setTimeout(resolve, 500))
    }
    assert.equal(mined, 200)
  }
  assert.equal((await arlocal.get('mine/3')).status, 200)

  const other = await startNode(temporaryFolder(), listen)
  t.after(() => other.stop())
  const report = await other.weft('recover', id, '--from', arlocal.url)
  assert.deepEqual([report.slots, report.missing, report.ends_here], [messages + 1, null, true], JSON.stringify(report))
  const [here, there] = [await node.weft('verify', id), await other.weft('verify', id)]
  assert.equal(there.difference, null)
  assert.equal(there.state_root, here.state_root)
})
