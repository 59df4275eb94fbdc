// A peer made of npm packages alone: libp2p with noise, yamux, identify and gossipsub, protobufjs for what
// it hears, arbundles to verify it. It knows nothing of Weft but the names and the schema on the wire.

import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'

// Node 20 has none, and libp2p asks for it.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

const { createLibp2p } = await import('libp2p')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { gossipsub } = await import('@chainsafe/libp2p-gossipsub')
const { identify } = await import('@libp2p/identify')
const { tcp } = await import('@libp2p/tcp')
const { webSockets } = await import('@libp2p/websockets')

const { DataItem } = createRequire(import.meta.url)('@dha-team/arbundles')

export const sha256 = (...parts) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** The topic of a process, from its id and the network's name. */
export function topicOf(network, process) {
  const short = sha256('weft/net/1', network).subarray(0, 3).toString('base64url')
  const name = sha256(Buffer.from(process, 'base64url')).subarray(0, 16).toString('base64url')
  return `ao1/${short}/${name}`
}

/** A peer; `tcp` and `ws` are how it can dial. */
export async function startPeer() {
  return createLibp2p({
    transports: [tcp(), webSockets()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: {
      identify: identify(),
      pubsub: gossipsub({
        globalSignaturePolicy: 'StrictNoSign',
        msgIdFn: ({ topic, data }) => sha256('ao1', topic, data).subarray(0, 20),
      }),
    },
  })
}

const schema = await protobuf.load(fileURLToPath(new URL('../../../protocol/proto/weft.proto', import.meta.url)))
const Announcement = schema.lookupType('weft.v1.Announcement')

export const readAnnouncement = (data) => Announcement.decode(data)

/** A data item of raw bytes, its id and tags, once its signature holds. */
export async function readItem(raw) {
  const bytes = Buffer.from(raw)
  if (!(await DataItem.verify(bytes))) throw new Error('a signature does not hold')
  const item = new DataItem(bytes)
  const tag = (name) => item.tags.find((tag) => tag.name === name)?.value
  const owner = sha256(item.rawOwner).toString('base64url')
  return { id: item.id, owner, tag, data: item.rawData }
}
