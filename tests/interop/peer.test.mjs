// A js-libp2p peer beside a node: it joins, subscribes to the topic of a process, and decodes and
// verifies what it hears with npm packages alone.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { multiaddr } from '@multiformats/multiaddr'
import { startNode } from './lib/node.mjs'
import { readAnnouncement, readItem, sha256, startPeer, topicOf } from './lib/peer.mjs'
import { temporaryFolder } from './lib/run.mjs'

const MESSAGES = 5
/** What a test and what comes before and after it may take, on a machine with other work. */
const timeout = 120_000
/** What an event may take to come. */
const eventMs = 60_000

let node
before(async () => {
  const listen = ['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1/tcp/0/ws']
  node = await startNode(temporaryFolder(), listen.flatMap((address) => ['--listen', address]))
}, { timeout })
after(() => node?.stop(), { timeout })

/** Waits for a condition that an event makes true. */
function when(target, event, condition) {
  return new Promise((resolve, reject) => {
    const done = (settle) => {
      clearTimeout(timer)
      target.removeEventListener(event, look)
      settle()
    }
    const look = (heard) => {
      try {
        if (condition(heard?.detail)) done(() => resolve(heard?.detail))
      } catch (error) {
        done(() => reject(error))
      }
    }
    const late = () => done(() => reject(new Error(`no ${event} as awaited in ${eventMs} ms`)))
    const timer = setTimeout(late, eventMs)
    target.addEventListener(event, look)
    look()
  })
}

/** Checks slots as a light client does: signatures, the scheduler's key, the item, and the chain. */
async function verify(records, process, scheduler) {
  let last
  for (const { assignment: rawAssignment, item: rawItem } of records) {
    const assignment = await readItem(rawAssignment)
    const item = await readItem(rawItem)
    assert.equal(assignment.owner, scheduler)
    assert.equal(assignment.tag('Process'), process)
    assert.equal(assignment.tag('Message'), item.id)
    const slot = Number(assignment.tag('Nonce'))
    const chain = Buffer.from(assignment.tag('Hash-Chain'), 'base64url')
    if (last !== undefined) {
      assert.equal(slot, last.slot + 1)
      const expected = sha256(Buffer.from(last.id, 'base64url'), last.chain)
      assert.equal(chain.toString('base64url'), expected.toString('base64url'), `the chain at slot ${slot}`)
    }
    last = { slot, id: assignment.id, chain }
  }
  return last.slot
}

for (const way of ['tcp', 'ws']) {
  test(`a js-libp2p peer hears and verifies a process over ${way}`, { timeout }, async () => {
    const { ready, weft } = node
    const { process } = await weft('spawn')
    const topic = topicOf(ready.network, process)
    const peer = await startPeer()
    try {
      const address = ready.listen.find((address) => address.includes('/ws/') === (way === 'ws'))
      const pubsub = peer.services.pubsub
      pubsub.subscribe(topic)
      await peer.dial(multiaddr(address))
      await when(pubsub, 'subscription-change', () => pubsub.getSubscribers(topic).length === 1)
      // In the mesh, and not only known: what is announced from now on comes.
      await when(pubsub, 'gossipsub:graft', () => pubsub.getMeshPeers(topic).length === 1)
      const records = []
      const heard = when(pubsub, 'message', (message) => {
        if (message?.topic !== topic) return false
        const announcement = readAnnouncement(message.data)
        assert.equal(Buffer.from(announcement.process).toString('base64url'), process)
        if (announcement.slot) records.push(announcement.slot)
        return records.length === MESSAGES
      })
      for (let count = 0; count < MESSAGES; count += 1) await weft('send', process, '--data', `message ${count}`)
      await heard
      assert.equal(await verify(records, process, ready.address), MESSAGES)
      // Changed by one bit, nothing of it would pass.
      const changed = Buffer.from(records[0].assignment)
      changed[10] ^= 1
      await assert.rejects(readItem(changed))
    } finally {
      await peer.stop()
    }
  })
}
