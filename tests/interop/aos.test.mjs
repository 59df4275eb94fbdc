// The wire sequence of the aos terminal against one node and the real aos module: its start-up queries, the
// spawn, lines that are typed, an error with its line, and the live feed from another client.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ask, connectTo, graphql, person, startGateway, until } from './lib/gateway.mjs'
import { modules } from './lib/modules.mjs'

/** What a test may take, on a machine with other work. */
const timeout = 300_000
const [aos] = modules

let node, module
before(async () => {
  node = await startGateway()
  const added = await node.weft('module', 'add', aos.file, '--format', aos.format)
  module = added.module
}, { timeout })
after(() => node?.stop(), { timeout })

test('a session of the aos terminal', { timeout }, async () => {
  const { ao, createDataItemSigner } = await connectTo('98', node.url)
  const { jwk, address } = person()
  const signer = createDataItemSigner(jwk)
  const byName = 'query ($owners: [String!]!) { transactions( first: 10, owners: $owners, tags: [ { name: "Data-Protocol", values: ["ao"] }, { name: "Type", values: ["Process"]}, { name: "Name", values: ["session"]} ] ) { edges { node { id tags { name value } } } } }'
  const before = await graphql(node.url, byName, { owners: [address, ''] })
  assert.deepEqual(before.transactions.edges, [])
  const tags = [
    { name: 'App-Name', value: 'aos' },
    { name: 'Name', value: 'session' },
    { name: 'Authority', value: 'fcoN_xJeisVsPXA-trzVAuIiqO3ydLQxM-L4XbrQKzY' },
    { name: 'aos-Version', value: '2.0.16' },
  ]
  const process = await ao.spawn({ module, scheduler: node.ready.address, signer, tags, data: '' })
  const after = await graphql(node.url, byName, { owners: [address, ''] })
  assert.deepEqual(after.transactions.edges.map(({ node }) => node.id), [process])
  const line = async (data) => {
    const message = await ao.message({ process, signer, tags: [{ name: 'Action', value: 'Eval' }], data })
    return ao.result({ process, message })
  }
  const version = await line("require('.process')._version")
  assert.match(version.Output.prompt ?? version.Output.data.prompt, /> $|>$/)
  assert.equal((await line('1 + 41')).Output.data.output ?? (await line('1 + 41')).Output.data, '42')
  // A program of several modules in one text, as `.load` bundles it.
  const bundle = `
    local function load_one() local M = {} function M.double(x) return 2 * x end return M end
    _G.package.loaded[".one"] = load_one()
    local one = require(".one")
    Doubled = one.double(21)
    return Doubled`
  assert.match(JSON.stringify((await line(bundle)).Output), /42/)
  const failed = await line('local a = 1\nlocal b = nil\nreturn a + b')
  assert.match(failed.Error ?? JSON.stringify(failed.Output), /:3:/, 'the line of the error')

  // The live feed: the newest five, then what comes after the cursor of the last of them.
  const feed = async (path) => (await ask(node.url, `/results/${process}?${path}`)).json.edges
  const newest = await feed('sort=DESC&limit=5')
  assert.ok(newest.length === 5 && newest.every(({ cursor }) => JSON.parse(atob(cursor)).ordinate !== undefined))
  const [{ cursor }] = await feed('sort=ASC&limit=1000').then((edges) => edges.slice(-1))
  const other = person()
  const stranger = createDataItemSigner(other.jwk)
  await ao.message({ process, signer: stranger, tags: [{ name: 'Action', value: 'Greet' }], data: 'hello' })
  const [heard] = await until('the greeting in the feed', async () => {
    const edges = await feed(`from=${encodeURIComponent(cursor)}&sort=ASC&limit=1000`)
    return edges.length > 0 && edges
  })
  assert.equal(heard.node.Output.print, true)
  assert.match(heard.node.Output.data, /Greet/)
  assert.match(heard.node.Output.prompt, /Inbox/)
  const dry = await ao.dryrun({ process, data: '#Inbox', tags: [{ name: 'Action', value: 'Eval' }], Owner: address })
  assert.match(JSON.stringify(dry.Output), /[12]/)
})
