// aoconnect 0.0.98 in its mainnet mode, against the routes of HyperBEAM that it uses.

import assert from 'node:assert/strict'
import { person } from './gateway.mjs'

/** Spawns, evaluates and tries out through a gateway; `place` says who schedules and computes. */
export async function mainnet(url, place) {
  const { connect, createSigner } = await import('aoconnect-98')
  const { jwk, address } = person()
  const ao = connect({ MODE: 'mainnet', URL: url, SCHEDULER: place.scheduler, signer: createSigner(jwk) })
  const process = await ao.spawn({ module: place.module, tags: [{ name: 'Name', value: 'mainnet' }, ...place.tags] })
  assert.match(process, /^[\w-]{43}$/)
  await place.spawned?.(process)
  const run = async (data) => ao.result({ process, slot: await ao.message({ process, tags: [{ name: 'Action', value: 'Eval' }], data }) })
  const output = ({ Output }) => String(Output.data?.output ?? Output.data)
  assert.equal(output(await run('Count = 1 return Count')), '1')
  assert.equal(output(await run('Count = Count + 1 return Count')), '2')
  const { edges } = await ao.results({ process })
  assert.deepEqual([edges.length, edges[0].cursor, output(edges[0].node)], [1, '2', '2'])
  await run('Handlers.add("dry", "Dry", function (msg) Count = 9 msg.reply({ Data = msg.From .. Count }) end)')
  const dry = await ao.dryrun({ process, tags: [{ name: 'Action', value: 'Dry' }] })
  assert.equal(dry.Messages[0].Data, `${address}9`)
  assert.equal(output(await run('return Count')), '2')
}
