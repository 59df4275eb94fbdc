// The real @permaweb/aoconnect against five nodes: one schedules, two compute, one carries, and the one that
// the app is pointed at does none of it.

import { after, before, test } from 'node:test'
import { app, checks, life, pushes } from './lib/checklist.mjs'
import { versions } from './lib/gateway.mjs'
import { mainnet } from './lib/mainnet.mjs'
import { startMesh } from './lib/mesh.mjs'
import { more } from './lib/more-checks.mjs'

/** What a test may take, on a machine with other work. */
const timeout = 600_000

let nodes, door, place
before(async () => {
  const roles = ['scheduler', 'compute', 'compute', 'compute,messenger', '']
  nodes = await startMesh(roles.map((roles) => ['--roles', roles]))
  const [scheduler, one, two, messenger] = nodes
  door = nodes[4]
  const [module] = await scheduler.weft('module', 'list')
  const compute = [one, two].map(({ ready }) => ({ name: 'Compute', value: ready.address }))
  compute.push({ name: 'Compute-Quorum', value: '2' })
  const spawned = (process) =>
    Promise.all([
      one.weft('host', process, '--compute'),
      two.weft('host', process, '--compute'),
      messenger.weft('host', process, '--messenger'),
    ])
  // Whoever carries for a parent takes up a child that names it.
  const child = [{ name: 'Compute', value: messenger.ready.address }, { name: 'Compute-Quorum', value: '1' }]
  place = { module: module.module, scheduler: scheduler.ready.address, tags: compute, child, spawned }
}, { timeout })
after(() => nodes?.stop(), { timeout })

for (const version of versions) {
  test(`aoconnect 0.0.${version} and five nodes`, { timeout }, async (t) => {
    const client = await app(version, door.url, place)
    let process
    await t.test('a process lives', async () => { process = await life(client) })
    if (process === undefined) return
    for (const [name, check] of Object.entries(checks)) {
      await t.test(name, () => check(client, process))
    }
    await t.test('pushes', () => pushes(client))
  })
}

test('what five nodes do for an app besides', { timeout }, async (t) => {
  const client = await app('98', door.url, place)
  for (const [name, check] of Object.entries(more)) await t.test(name, () => check(client))
})

test('aoconnect 0.0.98 in its mainnet mode and five nodes', { timeout }, () => mainnet(door.url, { ...place, tags: place.child }))
