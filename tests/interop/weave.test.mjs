// The weave of a node, read by arweave-js.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { after, before, test } from 'node:test'
import { wallet } from './lib/keys.mjs'
import { startNode } from './lib/node.mjs'
import { temporaryFolder } from './lib/run.mjs'

const require = createRequire(import.meta.url)
const Arweave = require('arweave')
const { ArweaveSigner, bundleAndSignData, createData } = require('@dha-team/arbundles')
const { generateTransactionChunks, validatePath } = require('arweave/node/lib/merkle')

const flags = ['--listen', '/ip4/127.0.0.1/tcp/0', '--weave-listen', '0', '--weave-block-ms', '100']
const messages = 7

/** Waits until the weave has the log up to a slot. */
const anchored = async (slot) => {
  const deadline = Date.now() + 60_000
  for (;;) {
    const [process] = (await node.weft('processes')).filter((one) => one.process === id)
    if (process.anchored === slot) return
    assert.ok(Date.now() < deadline, `slot ${process.anchored} of ${slot} is anchored`)
  }
}

let node
let address
let arweave
let id
before(async () => {
  node = await startNode(temporaryFolder(), [...flags, '--anchor-batch-age-ms', '100', '--anchor-batch-slots', '3'])
  address = node.ready.weave_api
  const { hostname: host, port } = new URL(address)
  arweave = Arweave.init({ host, port, protocol: 'http' })
  id = (await node.weft('spawn')).id
  for (let sent = 1; sent <= messages; sent += 1) {
    await node.weft('send', id, '--action', 'Eval', '--data', `n = (n or 0) + ${sent}`, '--wait')
    // What is sent after that comes in another bundle.
    if (sent === 3 || sent === messages) await anchored(sent)
  }
  await quiet()
})
after(() => node.stop())

/** Waits for the batch of what is attested of the last slot, as no test here expects a block meanwhile. It has no slots. */
const quiet = async () => {
  const deadline = Date.now() + 20_000
  const isLast = ({ from, to }) => from > to && to === messages
  while (Date.now() < deadline) {
    const { batches } = await node.weft('weave')
    if (batches.some(isLast) && batches.every(({ block }) => block !== null)) return
  }
}

const get = async (path) => {
  const response = await fetch(`${address}/${path}`)
  return { status: response.status, text: await response.text() }
}

test('arweave-js reads blocks, bundles and chunks, and their proofs hold', async () => {
  const { height, current, blocks } = await arweave.network.getInfo()
  assert.equal(blocks, height + 1)
  const newest = await arweave.blocks.get(current)
  assert.equal(newest.height, height)
  assert.equal((await get('tx_anchor')).text, current)
  assert.equal((await get('price/1000')).text, '0')
  let bundles = 0
  let end = 0n
  for (let at = 0; at <= height; at += 1) {
    const block = JSON.parse((await get(`block/height/${at}`)).text)
    assert.deepEqual(JSON.parse((await get(`block/hash/${block.indep_hash}`)).text), block)
    let start = end
    for (const name of block.txs) {
      bundles += 1
      const bytes = Buffer.from(await (await fetch(`${address}/raw/${name}`)).arrayBuffer())
      const { data_root } = await generateTransactionChunks(bytes)
      assert.equal(Buffer.from(data_root).toString('base64url'), name, 'its name is the root of its bytes')
      const { status, confirmed } = await arweave.transactions.getStatus(name)
      assert.equal(status, 200)
      assert.deepEqual([confirmed.block_height, confirmed.block_indep_hash], [at, block.indep_hash])
      const { size, offset } = JSON.parse((await get(`tx/${name}/offset`)).text)
      end += BigInt(size)
      assert.deepEqual([Number(size), BigInt(offset)], [bytes.length, end])
      // Each chunk, from its first and its last byte.
      for (let from = 0; from < bytes.length; ) {
        const absolute = end - BigInt(size) + BigInt(from) + 1n
        const found = await arweave.chunks.getChunk(absolute.toString())
        const chunk = Buffer.from(found.chunk, 'base64url')
        assert.ok(chunk.equals(bytes.subarray(from, from + chunk.length)))
        const path = Buffer.from(found.data_path, 'base64url')
        const proven = await validatePath(Buffer.from(name, 'base64url'), from, 0, bytes.length, path)
        assert.deepEqual([proven.leftBound, proven.rightBound], [from, from + chunk.length])
        // And the batch in its block.
        const total = Number(BigInt(block.block_size))
        const inBlock = Number(absolute - start) - 1
        const txPath = Buffer.from(found.tx_path, 'base64url')
        const txRoot = Buffer.from(block.tx_root, 'base64url')
        const placed = await validatePath(txRoot, inBlock, 0, total, txPath)
        assert.ok(placed, 'the batch is in its block')
        from += chunk.length
      }
      // No wallet signed it, and it does not look as if one had.
      const transaction = JSON.parse((await get(`tx/${name}`)).text)
      assert.deepEqual([transaction.format, transaction.owner, transaction.signature], [0, '', ''])
    }
    assert.equal(BigInt(block.weave_size), end)
  }
  assert.ok(bundles >= 2)
  assert.equal((await get(`tx/${id}`)).status, 404, 'an item is no transaction')
  assert.equal((await get(`chunk/${end + 1n}`)).status, 404)
  assert.equal((await get('chunk/0')).status, 404)
  const posted = await fetch(`${address}/tx`, { method: 'POST', body: '{}' })
  assert.equal(posted.status, 405)
})

test('GraphQL finds items by what they are, from both ends, and no others', async () => {
  const ask = async (query, variables) => {
    const { data } = await arweave.api.post('graphql', { query, variables })
    assert.ok(!data.errors, JSON.stringify(data.errors))
    return data.data
  }
  const page = `pageInfo{hasNextPage} edges{cursor node{id tags{name value} bundledIn{id} block{height id}}}`
  const all = async (sort, first) => {
    const found = []
    for (let after = ''; ; after = found.at(-1).cursor) {
      const query = `query($p:[String!]!,$a:String,$f:Int){transactions(first:$f,after:$a,sort:${sort},
        tags:[{name:"Process",values:$p},{name:"Type",values:["Assignment"]}]){${page}}}`
      const { transactions } = await ask(query, { p: [id], a: after, f: first })
      found.push(...transactions.edges)
      if (!transactions.pageInfo.hasNextPage) return found
    }
  }
  const nonces = (edges) => edges.map(({ node }) => Number(node.tags.find(({ name }) => name === 'Nonce').value))
  const expected = Array.from({ length: messages + 1 }, (_, slot) => slot)
  const ascending = await all('HEIGHT_ASC', 3)
  assert.deepEqual(nonces(ascending), expected)
  assert.deepEqual(nonces(await all('HEIGHT_DESC', 100)), expected.toReversed())
  const { bundledIn, block } = ascending[4].node
  const within = await ask(`{transactions(bundledIn:["${bundledIn.id}"],first:100){edges{node{id}}}}`)
  assert.ok(within.transactions.edges.some(({ node }) => node.id === ascending[4].node.id))
  const range = `block:{min:${block.height},max:${block.height}}`
  const ranged = await ask(`{transactions(${range},first:100){edges{node{block{height}}}}}`)
  assert.ok(ranged.transactions.edges.length > 0)
  assert.ok(ranged.transactions.edges.every(({ node }) => node.block.height === block.height))
  const nobody = await ask(`{transactions(recipients:["${'A'.repeat(43)}"]){edges{node{id}}}}`)
  assert.deepEqual(nobody.transactions.edges, [])
  const one = await ask(`{transaction(id:"${id}"){id signature owner{address key} data{size}}}`)
  assert.equal(one.transaction.id, id)
})

test('arweave-js posts to a weave that lets others, and to no other', async (t) => {
  const accepting = await startNode(temporaryFolder(), [...flags, '--weave-accepts', 'true'])
  t.after(() => accepting.stop())
  const { hostname: host, port } = new URL(accepting.ready.weave_api)
  const there = Arweave.init({ host, port, protocol: 'http' })
  const jwk = wallet()
  const data = Buffer.from(await (await fetch(`${address}/raw/${(await node.weft('weave')).batches[0].data_root}`)).arrayBuffer())
  // Small, and in several chunks.
  const signer = new ArweaveSigner(jwk)
  const item = createData(randomBytes(700_000), signer)
  await item.sign(signer)
  const large = (await bundleAndSignData([item], signer)).getRaw()
  for (const bytes of [data, large]) {
    const transaction = await there.createTransaction({ data: bytes }, jwk)
    transaction.addTag('Bundle-Format', 'binary')
    transaction.addTag('Bundle-Version', '2.0.0')
    await there.transactions.sign(transaction, jwk)
    const uploader = await there.transactions.getUploader(transaction)
    while (!uploader.isComplete) await uploader.uploadChunk()
    const deadline = Date.now() + 60_000
    for (;;) {
      const { status, confirmed } = await there.transactions.getStatus(transaction.id)
      if (status === 200 && confirmed.number_of_confirmations > 2) break
      assert.ok(Date.now() < deadline, `${status}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const back = Buffer.from(await (await fetch(`${accepting.ready.weave_api}/raw/${transaction.id}`)).arrayBuffer())
    assert.ok(back.equals(Buffer.from(bytes)))
    const read = await there.transactions.get(transaction.id)
    assert.ok(await there.transactions.verify(read))
    // The other weave is its node's own.
    assert.equal((await arweave.transactions.post(transaction)).status, 405)
  }
})
