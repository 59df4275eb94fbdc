// Several nodes with gateways that find each other, for tests of what one process or one app is to all of them.

import { startGateway } from './gateway.mjs'

/** Starts nodes one after the other, each of which is told of those before: an array of them, with `stop`. */
export async function startMesh(flagsOfEach) {
  const nodes = []
  for (const flags of flagsOfEach) {
    const peers = nodes.flatMap(({ ready }) => ['--bootstrap', dial(ready)])
    nodes.push(await startGateway([...flags, ...peers]))
  }
  return Object.assign(nodes, { stop: () => Promise.all(nodes.map((node) => node.stop())) })
}

/** An address of a node as others dial it. */
function dial({ listen: [first], peer_id }) {
  return first.includes('/p2p/') ? first : `${first}/p2p/${peer_id}`
}
