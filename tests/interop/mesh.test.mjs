// The real @permaweb/aoconnect against five nodes: one schedules, two compute, one carries, and the one that
// the app is pointed at does none of it.

import { after, before, test } from 'node:test'
import { app, checks, life, pushes } from './lib/checklist.mjs'
import { startGateway, versions } from './lib/gateway.mjs'

/** What a test may take, on a machine with other work. */
const timeout = 600_000

const nodes = []
let door, place
before(async () => {
  const start = async (flags) => {
    const peers = nodes.flatMap(({ ready }) => ['--bootstrap', dial(ready)])
    const node = await startGateway([...flags, ...peers])
    nodes.push(node)
    return node
  }
  const scheduler = await start(['--roles', 'scheduler'])
  const one = await start(['--roles', 'compute'])
  const two = await start(['--roles', 'compute'])
  const messenger = await start(['--roles', 'compute,messenger'])
  door = await start(['--roles', ''])
  const [module] = await scheduler.weft('module', 'list')
  const compute = [one, two].map(({ ready }) => ({ name: 'Compute', value: ready.address }))
  compute.push({ name: 'Compute-Quorum', value: '2' })
  const spawned = (process) =>
    Promise.all([
      one.weft('host', process, '--compute'),
      two.weft('host', process, '--compute'),
      messenger.weft('host', process, '--messenger'),
    ])
  place = { module: module.module, scheduler: scheduler.ready.address, tags: compute, spawned }
}, { timeout })
after(() => Promise.all(nodes.map((node) => node.stop())), { timeout })

/** An address of a node as others dial it. */
function dial({ listen: [first], peer_id }) {
  return first.includes('/p2p/') ? first : `${first}/p2p/${peer_id}`
}

for (const version of versions) {
  test(`aoconnect 0.0.${version} and five nodes`, { timeout }, async (t) => {
    const client = await app(version, door.url, place)
    let process
    await t.test('a process lives', async () => { process = await life(client) })
    if (process === undefined) return
    for (const [name, check] of Object.entries(checks)) {
      // It waits for a message that may be on its way: once is enough.
      if (name === 'refusals' && version !== versions[0]) continue
      await t.test(name, () => check(client, process))
    }
    await t.test('pushes', () => pushes(client))
  })
}
