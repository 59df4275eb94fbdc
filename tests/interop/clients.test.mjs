// The real @permaweb/aoconnect, four lines of it, against one node: what apps do with it, item by item.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { app, checks, life, pushes } from './lib/checklist.mjs'
import { ask, person, startGateway, versions } from './lib/gateway.mjs'

/** What a test may take, on a machine with other work. */
const timeout = 300_000

/** Every check of the list, by its name. */
const names = [
  'errors', 'texts', 'crowd', 'dryRuns', 'results', 'assign', 'chains', 'targets', 'monitors', 'log', 'weave', 'refusals',
]

let node, place
before(async () => {
  node = await startGateway(['--gateway-cors', 'http://app.example'])
  const [module] = await node.weft('module', 'list')
  place = { module: module.module, scheduler: node.ready.address, tags: [] }
}, { timeout })
after(() => node?.stop(), { timeout })

for (const version of versions) {
  test(`aoconnect 0.0.${version} and one node`, { timeout }, async (t) => {
    const client = await app(version, node.url, place)
    let process
    await t.test('a process lives', async () => { process = await life(client) })
    if (process === undefined) return
    for (const name of names) await t.test(name, () => checks[name](client, process))
    await t.test('pushes', () => pushes(client))
  })
}

test('every check of the list is run', () => assert.deepEqual(names, Object.keys(checks)))

test('a page of an allowed origin may, others may not', { timeout }, async () => {
  const page = (origin, more = {}) => ask(node.url, '/info', { headers: { origin, ...more } })
  const own = await page('http://app.example')
  assert.equal(own.status, 200)
  assert.equal(own.headers.get('access-control-allow-origin'), 'http://app.example')
  const wrong = await ask(node.url, '/result/short', { headers: { origin: 'http://app.example' } })
  assert.equal(wrong.headers.get('access-control-allow-origin'), 'http://app.example', 'errors can be read too')
  const foreign = await page('https://evil.example')
  assert.equal(foreign.status, 403)
  assert.match(foreign.json.error, /gateway_cors/)
  const preflight = await fetch(`${node.url}/`, { method: 'OPTIONS', headers: { origin: 'http://app.example', 'access-control-request-method': 'POST' } })
  assert.equal(preflight.status, 204)
  assert.match(preflight.headers.get('access-control-allow-methods'), /DELETE/)
  assert.match(preflight.headers.get('access-control-allow-headers'), /content-type/)
})

test('aoconnect 0.0.98 in its mainnet mode', { timeout }, async () => {
  const { connect, createSigner } = await import('aoconnect-98')
  const { jwk, address } = person()
  const ao = connect({ MODE: 'mainnet', URL: node.url, signer: createSigner(jwk) })
  const process = await ao.spawn({ module: place.module, tags: [{ name: 'Name', value: 'mainnet' }] })
  assert.match(process, /^[\w-]{43}$/)
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
})

test('a page hears of a process as it goes on', { timeout }, async () => {
  const client = await app('98', node.url, place)
  const process = await client.spawn('events')
  const gone = new AbortController()
  const stream = await fetch(`${node.url}/events/${process}?from-nonce=0`, { signal: gone.signal })
  assert.equal(stream.headers.get('content-type'), 'text/event-stream')
  const { message } = await client.run(process, 'return "heard"')
  let told = ''
  for await (const piece of stream.body.pipeThrough(new TextDecoderStream())) {
    told += piece
    if (told.includes(message) && told.includes('event: outcome') && told.includes('heard')) break
  }
  assert.match(told, /event: slot\ndata: \{/)
  gone.abort()
})
